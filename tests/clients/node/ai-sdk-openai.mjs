import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateImage } from "ai";
import { kind } from "./file.mjs";

export default ({ url, key, image }) => {
  const options = { apiKey: key, baseURL: `${url}/openai/v1` };
  const own = createOpenAI(options).image("gpt-image-1");
  const compatible = createOpenAICompatible({ ...options, name: "klein" }).imageModel("flux-2-klein-4b");
  const make = async (model, rest) => (await generateImage({ model, size: "64x64", maxRetries: 0, ...rest })).images.map((i) => kind(i.uint8Array));
  const edit = { prompt: { text: "make it red", images: [image] } };
  return {
    "@ai-sdk/openai generate": () => make(own, { prompt: "a red circle", n: 2 }),
    "@ai-sdk/openai edit": () => make(own, edit),
    "@ai-sdk/openai-compatible generate": () => make(compatible, { prompt: "a red circle", n: 2 }),
    "@ai-sdk/openai-compatible edit": () => make(compatible, edit),
  };
};
