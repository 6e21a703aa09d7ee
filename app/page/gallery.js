// The key's recent predictions, newest first.

import { ask } from "./api.js";

const at = (id) => document.getElementById(id);
const PAGE = 12;

export class Gallery {
  #shown = new Set();
  #offset = 0;
  #open;

  constructor(open, complain) {
    this.#open = open;
    at("more").addEventListener("click", () => this.load().catch(complain));
  }

  clear() {
    this.#shown.clear();
    this.#offset = 0;
    at("gallery").replaceChildren();
    at("gallery-empty").hidden = false;
    at("more").hidden = true;
  }

  async load() {
    const page = await ask(`v1/executions?status=success&limit=${PAGE}&offset=${this.#offset}`);
    this.#offset += page.executions.length;
    const details = await Promise.all(
      page.executions.map(({ id }) => ask(`v1/prediction/${id}`).catch(() => null)),
    );
    details.forEach((body, k) => body && this.#place(body, page.executions[k].model, "append"));
    at("more").hidden = this.#offset >= page.total_count;
  }

  /** Put what has just been drawn first. */
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
    const picture = new Image();
    picture.loading = "lazy";
    picture.decoding = "async";
    picture.alt = body.input.prompt;
    picture.src = [body.output].flat()[0];
    button.append(picture);
    button.addEventListener("click", () => this.#open(body, model));
    item.append(button);
    at("gallery")[how](item);
  }
}
