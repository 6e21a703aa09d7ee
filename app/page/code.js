// The code of a request: its tabs, and the button that copies it.

import { load } from "./api.js";
import { write } from "./snippets.js";

const at = (id) => document.getElementById(id);
const base = new URL(".", location.href).href.replace(/\/$/, "");

export class Code {
  #request = null; // {body, names}

  constructor() {
    at("tabs").addEventListener("click", (event) => {
      const tab = event.target.closest("[role=tab]");
      if (tab) this.#select(tab);
    });
    at("tabs").addEventListener("keydown", (event) => {
      const tabs = [...document.querySelectorAll("[role=tab]")];
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const here = tabs.indexOf(event.target);
      if (!step || here < 0) return;
      const next = tabs[(here + step + tabs.length) % tabs.length];
      this.#select(next);
      next.focus();
    });
    at("copy").addEventListener("click", async () => {
      const { confirmOn, copyText } = await load("clipboard");
      await copyText(at("snippet").textContent);
      confirmOn(at("copy"), "Copied");
    });
  }

  /** Show the code of a request; `names` are the file names of its images. */
  show(body, names) {
    const { previews: _, ...input } = body.input;
    this.#request = { body: { model: body.model, input }, names };
    this.#write();
  }

  #select(tab) {
    for (const other of document.querySelectorAll("[role=tab]")) {
      other.setAttribute("aria-selected", other === tab);
      other.tabIndex = other === tab ? 0 : -1;
    }
    at("panel").setAttribute("aria-labelledby", tab.id);
    this.#write();
  }

  #write() {
    const language = document.querySelector("[role=tab][aria-selected=true]").id.slice("tab-".length);
    at("snippet").textContent = write(language, base, this.#request.body, this.#request.names);
  }
}
