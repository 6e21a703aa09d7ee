// The LoRAs of a request: chosen from the list of the server or named, each with a scale.

import { request } from "./api.js";

const at = (id) => document.getElementById(id);

export class Loras {
  #chosen = []; // {path, scale}
  #words = new Map(); // trigger words by path
  #changed;

  constructor(changed) {
    this.#changed = changed;
    at("lora-choice").addEventListener("change", () => {
      this.#add(at("lora-choice").value, 1);
      at("lora-choice").value = "";
    });
    at("loras").addEventListener("change", () => {
      const named = this.#named;
      at("loras").value = "";
      for (const { path, scale } of named) this.#add(path, scale);
    });
  }

  /** Fill the list of choices; a server without this route, or without LoRAs, gets no list. */
  async load() {
    const loras = await request("v1/loras?limit=500").catch(() => []);
    const usable = loras.filter(({ problem }) => !problem);
    for (const { name, trigger_words } of usable) this.#words.set(name, trigger_words);
    at("lora-choice").replaceChildren(new Option("Choose a LoRA…", ""), ...usable.map(({ name }) => new Option(name, name)));
    at("lora-choice").hidden = usable.length === 0;
    this.#show();
  }

  /** As the field `loras` of a request. */
  get value() {
    return [...this.#chosen, ...this.#named];
  }

  set value(loras) {
    this.#chosen = loras.map(({ path, scale = 1 }) => ({ path, scale }));
    at("loras").value = "";
    this.#show();
  }

  /** The one that is typed but not yet added, as NAME or NAME:SCALE. */
  get #named() {
    const text = at("loras").value.trim();
    const [, path, scale = "1"] = /^(.+?)(?::(-?[\d.]+))?$/.exec(text) ?? [];
    return path ? [{ path, scale: Number(scale) }] : [];
  }

  #add(path, scale) {
    if (!this.#chosen.some((lora) => lora.path === path)) this.#chosen.push({ path, scale });
    this.#show();
    this.#changed();
  }

  #show() {
    at("lora-list").replaceChildren(...this.#chosen.map((lora) => this.#row(lora)));
    const words = this.#chosen.flatMap(({ path }) => this.#words.get(path) ?? []);
    at("lora-words").textContent = words.length ? `Trigger words: ${words.join(", ")}` : "";
  }

  #row(lora) {
    const item = document.createElement("li");
    const name = document.createElement("span");
    name.textContent = lora.path;
    const scale = document.createElement("input");
    Object.assign(scale, { type: "number", min: -4, max: 4, step: 0.05, value: lora.scale });
    scale.setAttribute("aria-label", `Scale of ${lora.path}`);
    scale.addEventListener("input", () => (lora.scale = Number(scale.value)));
    const remove = document.createElement("button");
    Object.assign(remove, { type: "button", textContent: "×" });
    remove.setAttribute("aria-label", `Remove ${lora.path}`);
    remove.addEventListener("click", () => {
      this.#chosen = this.#chosen.filter((other) => other !== lora);
      this.#show();
      this.#changed();
      const next = at("lora-list").querySelector("button") ?? at("lora-choice");
      (next.hidden ? at("loras") : next).focus();
    });
    item.append(name, scale, remove);
    return item;
  }
}
