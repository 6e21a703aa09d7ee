// The form: turns its fields into a request body, and back.

import { References } from "./references.js";

const at = (id) => document.getElementById(id);

export class Composer {
  #models = [];
  #references;
  #edits = false; // whether there were images when #fit ran last

  constructor(changed) {
    this.#references = new References({
      area: at("references"),
      list: at("reference-list"),
      input: at("files"),
      changed: () => {
        this.#fit();
        changed();
      },
    });
    at("composer").addEventListener("input", () => {
      at("custom-size").hidden = this.#size !== "custom";
      changed();
    });
    at("model").addEventListener("change", () => this.#fit());
  }

  set models(models) {
    this.#models = models;
    at("model").replaceChildren(...models.map(({ slug }) => new Option(slug, slug)));
    this.#fit();
    choose(this.#size || this.#defaultSize);
  }

  /** The request body of POST /v1/prediction. */
  get body() {
    const input = { prompt: at("prompt").value };
    if (this.#references.urls.length) input.image_urls = this.#references.urls;
    if (this.#size === "custom") input.image_size = { width: number("width"), height: number("height") };
    else if (this.#size) input.image_size = this.#size;
    if (at("steps").value) input.num_inference_steps = number("steps");
    if (number("count") > 1) input.num_images = number("count");
    if (at("seed").value) input.seed = seed(at("seed").value);
    if (at("format").value !== "png") input.output_format = at("format").value;
    const loras = parseLoras(at("loras").value);
    if (loras.length) input.loras = loras;
    return { model: at("model").value, input };
  }

  /** Fill the form with the input of a prediction. */
  fill(model, input) {
    at("prompt").value = input.prompt ?? "";
    at("steps").value = input.num_inference_steps ?? "";
    at("count").value = input.num_images ?? 1;
    at("seed").value = input.seed ?? "";
    at("format").value = input.output_format ?? "png";
    at("loras").value = (input.loras ?? []).map(({ path, scale = 1 }) => `${path}:${scale}`).join(", ");
    const size = input.image_size ?? "";
    const named = typeof size === "object" ? "custom" : size;
    if (named === "custom") [at("width").value, at("height").value] = [size.width, size.height];
    at("model").value = model;
    this.#references.urls = input.image_urls ?? [];
    choose(named || this.#defaultSize); // after the images, which may change the model
  }

  /** Start an edit of a generated image. */
  edit(url) {
    this.#references.urls = [url];
    at("prompt").value = "";
    at("prompt").focus();
  }

  get #size() {
    return document.querySelector("input[name=size]:checked")?.value ?? "";
  }

  get #model() {
    return this.#models.find(({ slug }) => slug === at("model").value);
  }

  get #properties() {
    return this.#model?.request_schema.properties ?? {};
  }

  /** The model's own default; "" is the size of the first image. */
  get #defaultSize() {
    return this.#properties.image_size?.default ?? "";
  }

  /** Select the model and the sizes that fit: with or without images. */
  #fit() {
    const edits = this.#references.urls.length > 0;
    const fitting = this.#models.find((model) => takesImages(model) === edits);
    if (fitting && takesImages(this.#model) !== edits) at("model").value = fitting.slug;
    at("size-auto").hidden = !edits;
    if (edits !== this.#edits) choose(edits ? "" : this.#size || this.#defaultSize);
    this.#edits = edits;
    at("steps").placeholder = this.#properties.num_inference_steps?.default ?? "";
  }
}

/** Select a size and show its fields. */
function choose(size) {
  for (const radio of document.getElementsByName("size")) radio.checked = radio.value === size;
  at("custom-size").hidden = size !== "custom";
}

const takesImages = (model) => model?.request_schema.properties.image_urls !== undefined;

const number = (id) => Number(at(id).value);

/** Keep large seeds as text: they go up to 2^63, but a JavaScript number is exact up to 2^53 only. */
function seed(text) {
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : text;
}

function parseLoras(text) {
  return text
    .split(",")
    .map((part) => part.trim())
    .filter(Boolean)
    .map((part) => {
      const [, path, scale] = /^(.*?)(?::(-?[\d.]+))?$/.exec(part);
      return { path, scale: scale === undefined ? 1 : Number(scale) };
    });
}
