import { createReplicate } from "@ai-sdk/replicate";
import { generateImage } from "ai";
import { kind, width } from "./file.mjs";

export default ({ url, key, image }) => {
  const provider = createReplicate({ apiToken: key, baseURL: `${url}/replicate/v1` });
  const model = provider.image("black-forest-labs/flux-2-klein-4b");
  const providerOptions = { replicate: { output_format: "png" } };
  const make = async (options) => (await generateImage({ model, providerOptions, ...options })).images.map((i) => i.uint8Array);
  return {
    generate: async () => (await make({ prompt: "a red circle", size: "64x64" })).map((i) => [kind(i), width(i)]),
    "two images": async () => (await make({ prompt: "a red circle", size: "64x64", n: 2 })).length,
    "edit two images": async () => (await make({ prompt: { text: "make it red", images: [image, image] }, size: "64x64" })).map(kind),
  };
};
