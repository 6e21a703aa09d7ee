// Shows the recent images of this key, newest first.

import { request } from "./api.js";

const at = (id) => document.getElementById(id);
const PAGE = 12;

export class Gallery {
  #shown = new Set();
  #offset = 0;
  #open;

  constructor(open, onError) {
    this.#open = open;
    at("more").addEventListener("click", () => this.load().catch(onError));
  }

  clear() {
    this.#shown.clear();
    this.#offset = 0;
    at("gallery").replaceChildren();
    at("gallery-empty").hidden = false;
    at("more").hidden = true;
  }

  async load() {
    const page = await request(`v1/executions?status=success&limit=${PAGE}&offset=${this.#offset}`);
    this.#offset += page.executions.length;
    const details = await Promise.all(
      page.executions.map(({ id }) => request(`v1/prediction/${id}`).catch(() => null)),
    );
    details.forEach((body, k) => body && this.#place(body, page.executions[k].model, "append"));
    at("more").hidden = this.#offset >= page.total_count;
  }

  /** Add a new image as the first one. */
  add(body, model) {
    this.#offset += 1;
    this.#place(body, model, "prepend");
  }

  #place(body, model, how) {
    if (this.#shown.has(body.id)) return;
    this.#shown.add(body.id);
    at("gallery-empty").hidden = true;
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    const image = new Image();
    image.loading = "lazy";
    image.decoding = "async";
    image.alt = body.input.prompt;
    image.src = [body.output].flat()[0];
    button.append(image);
    button.addEventListener("click", () => this.#open(body, model));
    item.append(button);
    at("gallery")[how](item);
  }
}
