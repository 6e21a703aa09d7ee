// The form: turns its fields into a request body, and back, and checks them.

import { load } from "./api.js";
import { Loras } from "./loras.js";
import { References } from "./references.js";

const at = (id) => document.getElementById(id);
const SIDE = { min: 64, multiple: 16 };
const PIXELS_MAX = 4 * 1024 * 1024;
const ASPECT_MAX = 8;
const PROMPT_MAX = 10_000;

export class Composer {
  #models = [];
  #references;
  #changed;
  #edits = false; // whether there were images when #fit ran last
  #maskUrl = null;
  #masked = null; // the URL of the image that has the mask
  #mask = null; // the brush, loaded when it is first needed

  constructor(changed) {
    this.#changed = changed;
    this.loras = new Loras(() => changed({}));
    this.#references = new References({
      area: at("composer"),
      field: at("references"),
      list: at("reference-list"),
      input: at("files"),
      says: at("references-problem"),
      changed: () => {
        this.#fit();
        if (this.images[0]?.url !== this.#masked) this.#setMask(null);
        changed({ hasNewImages: true });
      },
      restore: (file) => this.#restore(file),
    });
    at("mask").addEventListener("toggle", () => at("mask").open && this.#showMask());
    at("composer").addEventListener("input", (event) => {
      if (event.target === at("files")) return; // the references report that
      at("custom-size").hidden = this.#size !== "custom";
      at("strength-value").value = at("strength").value;
      changed({});
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
    const urls = this.images.map(({ url }) => url);
    if (urls.length) input.image_urls = urls;
    if (urls.length && this.#maskUrl) input.mask_url = this.#maskUrl;
    if (urls.length && number("strength") < 1) input.strength = number("strength");
    if (this.#size === "custom") input.image_size = { width: number("width"), height: number("height") };
    else if (this.#size) input.image_size = this.#size;
    if (at("steps").value) input.num_inference_steps = number("steps");
    if (number("count") > 1) input.num_images = number("count");
    if (at("seed").value.trim()) input.seed = seed(at("seed").value.trim());
    if (this.#isGuided && at("guidance").value) input.guidance_scale = number("guidance");
    if (this.#isGuided && at("negative").value.trim()) input.negative_prompt = at("negative").value;
    if (at("format").value !== "png") input.output_format = at("format").value;
    if (this.loras.value.length) input.loras = this.loras.value;
    return { model: at("model").value, input };
  }

  /** The images to edit, as [{url, name}]. */
  get images() {
    return this.#references.images;
  }

  /** Find what the server would refuse, as [{field, message}]. */
  check() {
    const problems = [];
    const say = (field, message) => message && problems.push({ field, message });
    say("prompt", promptProblem(at("prompt").value));
    if (takesImages(this.#model) && !this.images.length) say("image_urls", "This model edits: add an image.");
    if (!takesImages(this.#model) && this.images.length) say("image_urls", "This model takes no images: remove them, or choose a model that edits.");
    if (this.#size === "custom") {
      const [width, height] = [number("width"), number("height")];
      say("width", sideProblem(width));
      say("height", sideProblem(height));
      if (!problems.some(({ field }) => field === "width" || field === "height")) say("width", areaProblem(width, height));
    }
    say("num_inference_steps", this.#rangeProblem("steps", "num_inference_steps"));
    say("num_images", this.#rangeProblem("count", "num_images"));
    say("seed", seedProblem(at("seed").value.trim()));
    if (this.#isGuided) say("guidance_scale", this.#guidanceProblem);
    return problems;
  }

  /** Fill the form with the input of a prediction. `images` are those to edit, if they have names. */
  fill(model, input, images = (input.image_urls ?? []).map((url, k) => ({ url, name: `image ${k + 1}` }))) {
    at("prompt").value = input.prompt ?? "";
    at("steps").value = input.num_inference_steps ?? "";
    at("count").value = input.num_images ?? 1;
    at("seed").value = input.seed ?? "";
    at("format").value = input.output_format ?? "png";
    at("guidance").value = input.guidance_scale ?? "";
    at("negative").value = input.negative_prompt ?? "";
    at("strength").value = at("strength-value").value = input.strength ?? 1;
    this.loras.value = input.loras ?? [];
    const size = input.image_size ?? "";
    const named = typeof size === "object" ? "custom" : size;
    if (named === "custom") [at("width").value, at("height").value] = [size.width, size.height];
    at("model").value = model;
    this.#references.images = images;
    this.#setMask(input.mask_url ?? null);
    this.#fit(); // the model may no longer be served
    choose(named || this.#defaultSize); // after the images, which may change the model
    this.#changed({});
  }

  /** Start an edit of a generated image. */
  edit(url, name) {
    this.#references.images = [{ url, name }];
    at("prompt").value = "";
    at("prompt").focus();
    this.#changed({});
  }

  /** Fill the form with the settings that an image file holds, and return whether there are any. */
  async #restore(file) {
    const { readSettings } = await load("settings");
    const settings = await readSettings(file);
    if (!settings) return false;
    this.fill(settings.model, settings.input, []);
    at("says").textContent = `Settings of ${file.name} restored. Drop it on “Images to edit” to edit it.`;
    return true;
  }

  /** Use a mask for the first image. */
  #setMask(url) {
    this.#masked = this.images[0]?.url ?? null;
    this.#maskUrl = this.#masked && url;
    at("mask").hidden = !this.#masked;
    at("mask").open = Boolean(this.#maskUrl);
    this.#mask?.show(this.images[0], this.#maskUrl);
  }

  async #showMask() {
    if (this.#mask) return;
    const { Mask } = await load("mask");
    this.#mask ??= new Mask((url) => {
      this.#maskUrl = url;
      this.#changed({});
    });
    this.#mask.show(this.images[0], this.#maskUrl);
  }

  get #size() {
    return document.querySelector("input[name=size]:checked")?.value ?? "";
  }

  get #model() {
    return this.#models.find(({ slug }) => slug === at("model").value);
  }

  /** Whether the model follows guidance and a negative prompt: a base model does. */
  get #isGuided() {
    return at("model").value.includes("-base-");
  }

  get #properties() {
    return this.#model?.request_schema.properties ?? {};
  }

  /** The model's own default; "" is the size of the first image. */
  get #defaultSize() {
    return this.#properties.image_size?.default ?? "";
  }

  get #guidanceProblem() {
    if (!at("guidance").value && !at("guidance").validity.badInput) return null;
    const { minimum = 0, maximum = 20 } = this.#properties.guidance_scale ?? {};
    const value = number("guidance");
    return value >= minimum && value <= maximum ? null : `Use a number from ${minimum} to ${maximum}.`;
  }

  #rangeProblem(id, field) {
    if (!at(id).value && !at(id).validity.badInput) return null;
    const { minimum = 1, maximum = Infinity } = this.#properties[field] ?? {};
    const value = number(id);
    return Number.isInteger(value) && value >= minimum && value <= maximum ? null : `Use a whole number from ${minimum} to ${maximum}.`;
  }

  /** Select a model that takes images, or none: the counterpart of the chosen one if it is served. */
  #chooseModel(edits) {
    const fits = (model) => takesImages(model) === edits;
    if (this.#model && fits(this.#model)) return;
    const fitting = this.#models.filter(fits);
    const checkpoint = checkpointOf(at("model").value);
    const model = fitting.find(({ slug }) => checkpointOf(slug) === checkpoint) ?? fitting[0];
    if (model) at("model").value = model.slug;
  }

  /** Adapt the form to the model and to whether there are images. */
  #fit() {
    const edits = this.images.length > 0;
    // a model that the user chose stays, and `check` says what it lacks
    if (!this.#model || edits !== this.#edits) this.#chooseModel(edits);
    at("size-auto").hidden = at("strength-field").hidden = !edits;
    if (edits !== this.#edits) choose(edits ? "" : this.#size || this.#defaultSize);
    this.#edits = edits;
    at("guidance-field").hidden = !this.#isGuided;
    at("guidance").placeholder = this.#properties.guidance_scale?.default ?? "";
    at("steps").placeholder = this.#properties.num_inference_steps?.default ?? "";
  }
}

/** Select a size and show its fields. */
function choose(size) {
  for (const radio of document.getElementsByName("size")) radio.checked = radio.value === size;
  at("custom-size").hidden = size !== "custom";
}

const takesImages = (model) => model?.request_schema.properties.image_urls !== undefined;

const checkpointOf = (slug) => slug.replace(/-(text-to-image|edit)$/, "");

const number = (id) => (at(id).value === "" ? NaN : Number(at(id).value));

function promptProblem(text) {
  if (!text.trim()) return "Enter a prompt.";
  const { length } = [...text]; // characters, as the server counts them
  return length > PROMPT_MAX ? `Use up to ${PROMPT_MAX.toLocaleString("en")} characters: these are ${length.toLocaleString("en")}.` : null;
}

function sideProblem(side) {
  if (!Number.isInteger(side) || side < SIDE.min) return `Use ${SIDE.min} pixels or more.`;
  const nearest = Math.round(side / SIDE.multiple) * SIDE.multiple;
  return side === nearest ? null : `Use a multiple of ${SIDE.multiple}, such as ${nearest}.`;
}

function areaProblem(width, height) {
  if (width * height > PIXELS_MAX) return "Width × height may be at most 4,194,304 pixels, such as 2048 × 2048.";
  if (Math.max(width, height) > ASPECT_MAX * Math.min(width, height)) return `The longer side may be at most ${ASPECT_MAX} times the shorter.`;
  return null;
}

function seedProblem(text) {
  if (!text) return null;
  if (!/^-?\d+$/.test(text)) return "Use a whole number, or leave it empty for a random seed.";
  return BigInt.asIntN(64, BigInt(text)) === BigInt(text) ? null : "Use a number from -9223372036854775808 to 9223372036854775807.";
}

/** Keep large seeds as text: they go up to 2^63, but a JavaScript number is exact up to 2^53 only. */
function seed(text) {
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : text;
}
