import Replicate from "replicate";
import { kind } from "./file.mjs";

const MODEL = "black-forest-labs/flux-2-klein-4b";
const SMALL = { prompt: "a red circle", width: 64, height: 64, aspect_ratio: "custom", output_format: "png" };

export default ({ url, key, image }) => {
  const client = new Replicate({ auth: key, baseUrl: `${url}/replicate/v1` });
  const kinds = (files) => Promise.all(files.map(async (file) => kind(await (await file.blob()).arrayBuffer())));
  return {
    run: async () => kinds(await client.run(MODEL, { input: SMALL })),
    "run a version": async () => {
      const { latest_version } = await client.models.get(...MODEL.split("/"));
      return kinds(await client.run(`${MODEL}:${latest_version.id}`, { input: SMALL }));
    },
    "edit an open file": async () => kinds(await client.run(MODEL, { input: { ...SMALL, images: [new Blob([image])] } })),
    "create, wait": async () => {
      const created = await client.predictions.create({ model: MODEL, input: SMALL });
      const ended = await client.wait(created, { interval: 50 });
      return [ended.status, kind(await (await fetch(ended.output[0])).arrayBuffer())];
    },
    "create in a deployment": async () => {
      const created = await client.deployments.predictions.create(...MODEL.split("/"), { input: SMALL });
      return (await client.predictions.cancel(created.id)).id === created.id;
    },
    cancel: async () => {
      const created = await client.predictions.create({ model: MODEL, input: { prompt: "x", num_inference_steps: 50, num_outputs: 4 } });
      return (await client.predictions.cancel(created.id)).status;
    },
    list: async () => {
      for await (const page of client.paginate(client.predictions.list)) return page.length > 0;
    },
    models: async () => (await client.models.list()).results.map((model) => model.name),
    search: async () => (await client.models.search("klein")).results.map((model) => model.name),
    files: async () => {
      const file = await client.files.create(image, { order: 17 });
      const listed = (await client.files.list()).results.map(({ id }) => id);
      const deleted = await client.files.delete(file.id);
      return [file.metadata, listed.includes(file.id), deleted];
    },
    "account, hardware, collections": async () => [
      (await client.accounts.current()).type,
      await client.hardware.list(),
      (await client.collections.list()).results,
    ],
    "deployments, trainings": async () => [(await client.deployments.list()).results, (await client.trainings.list()).results],
    "webhook secret": async () => (await client.webhooks.default.secret.get()).key.startsWith("whsec_"),
    "an error": async () => client.run(MODEL, { input: { prompt: "x", num_outputs: 9 } }),
  };
};
