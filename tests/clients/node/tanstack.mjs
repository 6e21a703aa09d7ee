import { generateImage } from "@tanstack/ai";
import { createOpenaiImage } from "@tanstack/ai-openai";
import { base64, kind } from "./file.mjs";

export default ({ url, key, image }) => {
  const adapter = createOpenaiImage("gpt-image-1", key, { baseURL: `${url}/openai/v1` });
  const kinds = ({ images }) => images.map(({ b64Json }) => kind(base64(b64Json)));
  const part = { type: "image", source: { type: "data", value: image.toString("base64"), mimeType: "image/png" } };
  return {
    generate: async () => kinds(await generateImage({ adapter, prompt: "a red circle", size: "1024x1024" })),
    edit: async () => kinds(await generateImage({ adapter, prompt: [{ type: "text", content: "make it red" }, part] })),
  };
};
