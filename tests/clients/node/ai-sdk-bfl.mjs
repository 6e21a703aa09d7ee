import { createBlackForestLabs } from "@ai-sdk/black-forest-labs";
import { generateImage } from "ai";
import { kind } from "./file.mjs";

export default ({ url, key, image }) => {
  const provider = createBlackForestLabs({ apiKey: key, baseURL: `${url}/bfl/v1`, pollIntervalMillis: 50 });
  const model = provider.image("flux-2-klein-4b");
  const providerOptions = { blackForestLabs: { width: 256, height: 256, steps: 1, outputFormat: "png" } };
  const make = async (options) => (await generateImage({ model, providerOptions, maxRetries: 0, ...options })).images.map((i) => kind(i.uint8Array));
  return {
    generate: () => make({ prompt: "a red circle" }),
    "aspect ratio": () => make({ prompt: "a red circle", aspectRatio: "16:9" }),
    edit: () => make({ prompt: { text: "make it red", images: [image] } }),
    "an error": () => generateImage({ model: provider.image("flux-pro-1.1-fill"), prompt: "x", maxRetries: 0 }),
  };
};
