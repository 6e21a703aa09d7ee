// The same calls for each major version of OpenAI's client.
import { base64, kind, width } from "./file.mjs";

const SMALL = { model: "gpt-image-1", prompt: "a red circle", size: "64x64" };

export default ({ url, key, image }, OpenAI, toFile) => {
  const client = new OpenAI({ apiKey: key, baseURL: `${url}/openai/v1`, maxRetries: 0 });
  const file = () => toFile(image, "a.png", { type: "image/png" });
  const kinds = (answer) => answer.data.map(({ b64_json }) => kind(base64(b64_json)));
  return {
    generate: async () => {
      const answer = await client.images.generate({ ...SMALL, quality: "high", n: 2 });
      return [kinds(answer), width(base64(answer.data[0].b64_json))];
    },
    "generate by URL": async () => {
      const { data } = await client.images.generate({ ...SMALL, model: "dall-e-3", response_format: "url" });
      return kind(await (await fetch(data[0].url)).arrayBuffer());
    },
    edit: async () => kinds(await client.images.edit({ ...SMALL, image: await file() })),
    "edit two images": async () => kinds(await client.images.edit({ ...SMALL, image: [await file(), await file()] })),
    "stream with partial images": async () => {
      const events = [];
      for await (const event of await client.images.generate({ ...SMALL, size: "256x256", stream: true, partial_images: 2 })) events.push(event);
      const last = events.at(-1);
      return [[...new Set(events.map(({ type }) => type))], kind(base64(last.b64_json)), last.usage.total_tokens];
    },
    "stream an edit": async () => {
      const events = [];
      for await (const event of await client.images.edit({ ...SMALL, image: await file(), stream: true })) events.push(event.type);
      return events;
    },
    variation: async () => kinds(await client.images.createVariation({ model: "dall-e-2", size: "256x256", image: await file(), response_format: "b64_json" })),
    models: async () => {
      const names = (await client.models.list()).data.map(({ id }) => id);
      return [names[0], names.includes("gpt-image-1"), (await client.models.retrieve("dall-e-3")).id];
    },
    "edit an uploaded file": async () => {
      const uploaded = await client.files.create({ file: await file(), purpose: "vision" });
      const body = { ...SMALL, images: [{ file_id: uploaded.id }] };
      const edited = kinds(await client.post("/images/edits", { body }));
      return [edited, (await client.files.retrieve(uploaded.id)).purpose, (await client.files.delete(uploaded.id)).deleted];
    },
    "an error": async () => client.images.generate({ ...SMALL, size: "large" }),
  };
};
