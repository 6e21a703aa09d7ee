// Runs predictions and shows them: connects the stage, the gallery and the status.

import { follow, load, request } from "./api.js";
import { Gallery, isUnfinished } from "./gallery.js";
import { Stage } from "./stage.js";
import { Status } from "./status.js";

export class Predictions {
  #composer;
  #code;
  #onError;
  #stage;
  #gallery;
  #status;
  #shown = null; // the entry on the stage
  #stop = null; // aborts the stream of the entry on the stage

  constructor({ composer, code, onError }) {
    this.#composer = composer;
    this.#code = code;
    this.#onError = onError;
    this.#stage = new Stage({
      cancel: () => this.#request(`v1/prediction/${this.#shown.id}/cancel`, "POST"),
      remove: () => this.#remove(this.#shown),
      edit: (url) => composer.edit(url, "generated image"),
      reuse: () => this.#reuse(this.#shown),
    });
    this.#gallery = new Gallery({ open: (entry) => this.#open(entry), onError });
    this.#status = new Status(() => this.#gallery.update().catch(() => {})); // the status says what is wrong
  }

  /** Show what belongs to the key, and follow its newest prediction that runs. Throws RequestError. */
  async enter() {
    this.#stop?.abort();
    this.#stage.clear(""); // it may show what belongs to another key
    this.#status.update();
    const entries = await this.#gallery.load();
    this.#composer.loras.load();
    const newest = entries.find(isUnfinished);
    if (newest) this.#follow(newest);
  }

  /** Create a prediction and follow it. Throws RequestError if the server refuses it. */
  async generate(body) {
    this.#code.show(body, this.#composer.images.map(({ name }) => name));
    const input = { ...body.input, previews: true };
    const { predictionID: id } = await request("v1/prediction", { method: "POST", body: { ...body, input } });
    const entry = { id, model: body.model, input: body.input, status: "created", output: null };
    this.#gallery.put(entry);
    this.#status.update();
    this.#follow(entry);
    this.#stage.reveal();
  }

  #open(entry) {
    if (isUnfinished(entry)) this.#follow(entry);
    else this.#show(entry);
    this.#stage.bringIntoView();
  }

  async #follow(entry) {
    const stop = this.#take(entry);
    this.#stage.begin(entry);
    try {
      for await (const { event, data } of follow(entry.id, stop.signal)) {
        if (stop.signal.aborted) return;
        if (event === "end") this.#end({ ...entry, ...data });
        else this.#stage.advance(event, data);
      }
    } catch (error) {
      if (stop.signal.aborted) return;
      this.#stage.clear("");
      this.#onError(error);
    } finally {
      stop.abort();
    }
  }

  #end(entry) {
    this.#gallery.put(entry);
    this.#status.update();
    this.#show(entry);
  }

  #show(entry) {
    const { signal } = this.#take(entry);
    this.#stage.show(entry);
    if (entry.status !== "success") return;
    this.#code.show(entry, []);
    this.#showTimeline(entry.id, signal);
  }

  async #showTimeline(id, signal) {
    const { showTimeline } = await load("timeline");
    const timeline = await request(`v1/prediction/${id}/timeline`, { signal }).catch(() => null);
    if (!signal.aborted) showTimeline(timeline);
  }

  /** Give the stage to an entry, and stop following the one before. */
  #take(entry) {
    this.#stop?.abort();
    this.#shown = entry;
    this.#stop = new AbortController();
    return this.#stop;
  }

  #reuse({ model, input }) {
    this.#composer.fill(model, input);
    document.getElementById("prompt").focus();
  }

  async #remove({ id }) {
    if ((await this.#request(`v1/prediction/${id}`, "DELETE")) === undefined) return;
    this.#gallery.remove(id);
    this.#stage.clear("Deleted");
  }

  #request(path, method) {
    return request(path, { method }).catch(this.#onError);
  }
}
