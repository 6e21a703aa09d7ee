// The images to edit: dropped anywhere, pasted, chosen as files, or generated before.

const MAX_IMAGES = 4;
const MAX_BYTES = 20 * 1024 * 1024;
const MEDIA_TYPES = new Set(["image/png", "image/jpeg", "image/webp", "image/avif"]);
/** The type of a drag that starts at an image of this page; its data is the URL. */
export const DRAGGED = "application/x-klein-image";

export class References {
  #images = []; // {url, name}
  #list;
  #input;
  #changed;
  #says;
  #origin = null; // the section in which a drag began

  /** `restore` uses the settings in a file that is dropped outside of `field`, and returns whether there are any. */
  constructor({ area, field, list, input, says, changed, restore }) {
    this.#list = list;
    this.#input = input;
    this.#changed = changed;
    this.#says = says;
    input.addEventListener("change", () => {
      this.#add([...input.files]);
      input.value = "";
    });
    document.addEventListener("paste", (event) => {
      const files = [...event.clipboardData.files];
      if (files.length) event.preventDefault();
      this.#add(files);
    });
    document.addEventListener("dragover", (event) => {
      const accepts = this.#accepts(event);
      if (accepts) event.preventDefault();
      area.classList.toggle("over", accepts);
    });
    document.addEventListener("dragstart", (event) => (this.#origin = event.target.closest?.("section")));
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) area.classList.remove("over");
    });
    document.addEventListener("dragend", () => area.classList.remove("over"));
    document.addEventListener("drop", (event) => {
      area.classList.remove("over");
      if (!this.#accepts(event)) return;
      event.preventDefault(); // a browser would leave the page and show the file
      const url = event.dataTransfer.getData(DRAGGED);
      if (url) this.#append([{ url, name: "image" }]);
      else this.#drop([...event.dataTransfer.files], field.contains(event.target) ? null : restore);
    });
  }

  get images() {
    return this.#images;
  }

  /** Replace the images; those without a URL were too large to remember. */
  set images(images) {
    this.#images = images.filter(({ url }) => url);
    const lost = images.filter(({ url }) => !url).map(({ name }) => name);
    this.#say(lost.length ? `Too large to keep while the page was reloaded: ${lost.join(", ")}. Add it again.` : "");
    this.#show();
  }

  /** Files are taken anywhere. An image of the page must leave its section, so that a slip adds nothing. */
  #accepts({ dataTransfer: { types }, target }) {
    return types.includes(DRAGGED) ? !this.#origin?.contains(target) : types.includes("Files");
  }

  async #drop(files, restore) {
    if (files.length === 1 && !refusalOf(files[0]) && (await restore?.(files[0]))) return;
    this.#add(files);
  }

  async #add(files) {
    if (!files.length) return;
    const refused = files.map(refusalOf).filter(Boolean);
    const fitting = files.filter((file) => !refusalOf(file));
    const images = await Promise.all(fitting.map(async (file) => ({ url: await dataUri(file), name: file.name })));
    this.#append(images, refused);
  }

  #append(images, refused = []) {
    const free = MAX_IMAGES - this.#images.length;
    const surplus = images.slice(free).map(({ name }) => name);
    if (surplus.length) refused.push(`An edit takes up to ${MAX_IMAGES} images. Not added: ${surplus.join(", ")}.`);
    this.#say(refused.join(" "));
    this.#images = [...this.#images, ...images.slice(0, free)];
    if (images.length) this.#show();
  }

  #say(text) {
    this.#says.textContent = text;
  }

  #show() {
    this.#list.replaceChildren(
      ...this.#images.map((image, k) => {
        const item = document.createElement("li");
        const thumbnail = new Image();
        thumbnail.src = image.url;
        thumbnail.alt = image.name;
        const remove = document.createElement("button");
        remove.type = "button";
        remove.textContent = "×";
        remove.setAttribute("aria-label", `Remove ${image.name}`);
        remove.addEventListener("click", () => {
          this.#images = this.#images.filter((other) => other !== image);
          this.#say("");
          this.#show();
          const buttons = this.#list.querySelectorAll("button");
          (buttons[Math.min(k, buttons.length - 1)] ?? this.#input).focus();
        });
        item.append(thumbnail, remove);
        return item;
      }),
    );
    this.#changed();
  }
}

function refusalOf({ name, type, size }) {
  if (!MEDIA_TYPES.has(type)) {
    const kind = /\.(\w{1,5})$/.exec(name)?.[1] ?? type.split("/")[1] ?? "this";
    return `${name} was not added: klein reads PNG, JPEG, WebP and AVIF, not ${kind.toUpperCase()}. Convert it first.`;
  }
  if (size > MAX_BYTES) return `${name} was not added: it has ${Math.ceil(size / 1024 ** 2)} MB, and 20 MB is the most.`;
  return null;
}

function dataUri(file) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => failed(reader.error);
    reader.readAsDataURL(file);
  });
}
