import { createFalClient } from "@fal-ai/client";
import { dataUri, kind } from "./file.mjs";

const MODEL = "fal-ai/flux-2/klein/4b";
const SMALL = { prompt: "a red circle", image_size: { width: 64, height: 64 } };

export default ({ url, key, image }) => {
  const fal = createFalClient({ credentials: key, proxyUrl: { url: `${url}/fal`, when: "always" }, suppressLocalCredentialsWarning: true });
  const kinds = ({ data }) => Promise.all(data.images.map(async ({ url }) => kind(await (await fetch(url)).arrayBuffer())));
  return {
    run: async () => kinds(await fal.run(MODEL, { input: SMALL })),
    subscribe: async () => {
      const states = [];
      const result = await fal.subscribe(MODEL, { input: SMALL, logs: true, pollInterval: 50, onQueueUpdate: ({ status }) => states.push(status) });
      return [await kinds(result), states.at(-1), result.requestId.length];
    },
    "subscribe by stream": async () => {
      const states = [];
      const result = await fal.subscribe(MODEL, { input: SMALL, mode: "streaming", onQueueUpdate: ({ status }) => states.push(status) });
      return [await kinds(result), states.at(-1)];
    },
    edit: async () => kinds(await fal.run(`${MODEL}/edit`, { input: { ...SMALL, image_urls: [dataUri(image)] } })),
    "edit an uploaded file": async () => {
      const uploaded = await fal.storage.upload(new Blob([image], { type: "image/png" }));
      return kinds(await fal.run(`${MODEL}/edit`, { input: { ...SMALL, image_urls: [uploaded] } }));
    },
    cancel: async () => {
      const { request_id } = await fal.queue.submit(MODEL, { input: { prompt: "x", num_inference_steps: 50, num_images: 4 } });
      await fal.queue.cancel(MODEL, { requestId: request_id });
      return fal.queue.result(MODEL, { requestId: request_id });
    },
    "an error": async () => fal.run(MODEL, { input: { prompt: "x", num_images: 9 } }),
  };
};
