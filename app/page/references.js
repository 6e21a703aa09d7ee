// The images to edit: dropped, pasted, chosen as files, or generated before.

const MAX_IMAGES = 4;
const MEDIA_TYPES = new Set(["image/png", "image/jpeg", "image/webp"]);

export class References {
  #images = []; // {url, name}
  #list;
  #changed;

  constructor({ area, list, input, changed }) {
    this.#list = list;
    this.#changed = changed;
    input.addEventListener("change", () => {
      this.#add(input.files);
      input.value = "";
    });
    for (const name of ["dragenter", "dragover"]) {
      area.addEventListener(name, (event) => {
        event.preventDefault();
        area.classList.add("over");
      });
    }
    for (const name of ["dragleave", "drop"]) area.addEventListener(name, () => area.classList.remove("over"));
    area.addEventListener("drop", (event) => {
      event.preventDefault();
      this.#add(event.dataTransfer.files);
    });
    document.addEventListener("paste", (event) => this.#add(event.clipboardData.files));
  }

  get urls() {
    return this.#images.map((image) => image.url);
  }

  set urls(urls) {
    this.#images = urls.map((url, k) => ({ url, name: `image ${k + 1}` }));
    this.#show();
  }

  async #add(files) {
    const images = [...files].filter((file) => MEDIA_TYPES.has(file.type));
    for (const file of images.slice(0, MAX_IMAGES - this.#images.length)) {
      this.#images.push({ url: await dataUri(file), name: file.name });
    }
    if (images.length) this.#show(); // not files.length: a live list may be empty now
  }

  #show() {
    this.#list.replaceChildren(
      ...this.#images.map((image) => {
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
          this.#show();
        });
        item.append(thumbnail, remove);
        return item;
      }),
    );
    this.#changed();
  }
}

function dataUri(file) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.onerror = () => failed(reader.error);
    reader.readAsDataURL(file);
  });
}
