import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { fileURLToPath } from "node:url";

const MODEL = { model_owner: "black-forest-labs", model_name: "flux-2-klein-4b" };
const input = { prompt: "a red circle", width: 64, height: 64 };

export default ({ url, key }) => {
  const connected = (async () => {
    const client = new Client({ name: "klein tests", version: "1" });
    const server = fileURLToPath(import.meta.resolve("replicate-mcp/index.js"));
    const env = { REPLICATE_API_TOKEN: key, REPLICATE_BASE_URL: `${url}/replicate/v1` };
    await client.connect(new StdioClientTransport({ command: process.execPath, args: [server], env, stderr: "ignore" }));
    return client;
  })();
  const call = async (name, args = {}) => {
    const { content, isError } = await (await connected).callTool({ name, arguments: args });
    if (isError) throw new Error(content[0].text);
    return content[0].text;
  };
  const json = async (name, args) => JSON.parse(await call(name, args));
  const predict = (more = {}) => json("create_models_predictions", { ...MODEL, input, ...more });
  return {
    create_models_predictions: async () => (await predict({ Prefer: "wait" })).status,
    create_deployments_predictions: async () => (await json("create_deployments_predictions", { deployment_owner: MODEL.model_owner, deployment_name: MODEL.model_name, input })).model,
    "get_predictions, cancel_predictions": async () => {
      const { id } = await predict({ input: { ...input, num_inference_steps: 50, num_outputs: 4, width: 1024, height: 1024 } });
      const { id: same } = await json("get_predictions", { prediction_id: id });
      return [same === id, (await json("cancel_predictions", { prediction_id: id })).status];
    },
    list_predictions: async () => (await json("list_predictions")).results.length > 0,
    "list_models, get_models_readme": async () => [(await json("list_models")).results.map(({ name }) => name), (await call("get_models_readme", MODEL)).includes(MODEL.model_name)],
    // the package shows nothing of these answers, whatever they are
    "search_models, get_models, list_models_versions, list_collections": async () => [await call("search_models", { body: "klein" }), await call("get_models", MODEL), await call("list_models_versions", MODEL), await call("list_collections")].map((text) => text.includes("Successful")),
    "list_deployments, list_trainings": async () => Promise.all(["list_deployments", "list_trainings"].map(async (name) => (await json(name)).results.length)),
    list_files: async () => Array.isArray((await json("list_files")).results),
    "get_account, list_hardware": async () => [(await json("get_account")).type, await json("list_hardware")],
    get_default_webhooks_secret: async () => (await json("get_default_webhooks_secret")).key.slice(0, 6),
    "an error": async () => predict({ input: { ...input, num_outputs: 9 } }),
  };
};
