// The predictions of this key, newest first: those that wait or run, and the images; with a search and a filter.

import { request } from "./api.js";
import { makeDraggable } from "./pictures.js";

const at = (id) => document.getElementById(id);
const PAGE = 12;
const TYPING_MS = 250;
const STATUSES = { images: "success,created,processing", failed: "error,cancelled" };
const STATES = { created: "Waiting…", starting: "Waiting…", processing: "Generating…", error: "Failed", failed: "Failed", cancelled: "Cancelled" };
export const isUnfinished = ({ status }) => status === "created" || status === "starting" || status === "processing";

export class Gallery {
  #items = new Map(); // {entry, element} by id
  #cursor = null;
  #open;
  #load = 0; // number of the latest load: an older one that ends later changes nothing

  constructor({ open, onError }) {
    this.#open = open;
    let typing;
    const search = () => this.load().catch(onError);
    at("search").addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(search, TYPING_MS);
    });
    at("filter").addEventListener("change", search);
    at("more").addEventListener("click", () => this.#more().catch(onError));
  }

  /** Load the first page and return its entries. */
  async load() {
    const load = (this.#load += 1);
    const { predictions, cursor } = await this.#page("");
    if (load !== this.#load) return [];
    this.#items.clear();
    at("gallery").replaceChildren();
    for (const entry of predictions) this.put(entry, "append");
    this.#continue(cursor);
    return predictions;
  }

  /** Load again what has not ended yet, and what is new, if anything is unfinished. */
  async update() {
    const unfinished = [...this.#items.values()].filter(({ entry }) => isUnfinished(entry)).map(({ entry }) => entry);
    if (!unfinished.length) return;
    const load = this.#load;
    const { predictions } = await this.#page("");
    if (load !== this.#load) return;
    const newestShown = predictions.findIndex(({ id }) => this.#items.has(id));
    if (newestShown < 0) return this.load(); // all of them are new
    for (const [place, entry] of [...predictions.entries()].reverse()) {
      // an older one, which comes into the page when another leaves it, belongs behind "Show more"
      if (place < newestShown || this.#items.has(entry.id)) this.put(entry);
    }
    for (const { id } of unfinished) {
      if (!predictions.some((entry) => entry.id === id)) this.remove(id); // cancelled, failed or deleted
    }
  }

  /** Show an entry: in the place that it has, or as the first one. */
  put(entry, how = "prepend") {
    const before = this.#items.get(entry.id);
    if (before?.entry.status === entry.status) return;
    if (!this.#matches(entry)) return this.remove(entry.id);
    const element = this.#tile(entry);
    this.#items.set(entry.id, { entry, element });
    if (before) before.element.replaceWith(element);
    else at("gallery")[how](element);
    this.#showEmpty();
  }

  remove(id) {
    this.#items.get(id)?.element.remove();
    this.#items.delete(id);
    this.#showEmpty();
  }

  async #more() {
    const shown = at("gallery").children.length;
    const load = this.#load;
    const { predictions, cursor } = await this.#page(this.#cursor);
    if (load !== this.#load) return; // another search has begun
    for (const entry of predictions) this.put(entry, "append");
    const isFocused = document.activeElement === at("more");
    this.#continue(cursor);
    if (isFocused && !cursor) at("gallery").children[shown]?.firstElementChild.focus();
  }

  #page(cursor) {
    const query = new URLSearchParams({ limit: PAGE, status: STATUSES[at("filter").value] ?? STATUSES.images });
    if (at("search").value.trim()) query.set("prompt", at("search").value.trim());
    if (cursor) query.set("cursor", cursor);
    return request(`v1/history?${query}`);
  }

  /** Whether the filter shows an entry that did not come through it. */
  #matches({ status, input }) {
    const words = at("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const failed = status === "error" || status === "failed" || status === "cancelled";
    return failed === (at("filter").value === "failed") && words.every((word) => input.prompt.toLowerCase().includes(word));
  }

  #continue(cursor) {
    this.#cursor = cursor;
    at("more").hidden = !cursor;
    this.#showEmpty();
  }

  #showEmpty() {
    at("gallery-empty").hidden = this.#items.size > 0;
    at("gallery-empty").textContent = at("search").value.trim() || at("filter").value !== "images" ? "Nothing matches." : "No images with this key yet.";
  }

  #tile(entry) {
    const item = document.createElement("li");
    const urls = [entry.output].flat();
    const hasImages = entry.status === "success";
    // a link, because browsers drag nothing out of a button; it also opens in a new tab as links do
    const tile = Object.assign(document.createElement(hasImages ? "a" : "button"), hasImages ? { href: urls[0] } : { type: "button" });
    tile.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      this.#open(entry);
    });
    if (hasImages) {
      const image = new Image();
      Object.assign(image, { loading: "lazy", decoding: "async", alt: entry.input.prompt, title: entry.input.prompt, src: urls[0] });
      tile.append(image);
      if (urls.length > 1) tile.append(Object.assign(document.createElement("span"), { className: "count", textContent: urls.length }));
      makeDraggable(tile, urls[0]);
    } else {
      tile.className = "pending";
      tile.append(
        Object.assign(document.createElement("b"), { textContent: STATES[entry.status] }),
        Object.assign(document.createElement("span"), { textContent: entry.input.prompt }),
      );
    }
    item.append(tile);
    return item;
  }
}
