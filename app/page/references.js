// The images to edit: dropped, pasted, chosen, or taken from a picture that was drawn.

const MOST = 4;
const KINDS = new Set(["image/png", "image/jpeg", "image/webp"]);

export class References {
  #images = []; // {url, name}
  #list;
  #changed;

  constructor({ area, list, input, changed }) {
    this.#list = list;
    this.#changed = changed;
    input.addEventListener("change", () => {
      this.#take(input.files);
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
      this.#take(event.dataTransfer.files);
    });
    document.addEventListener("paste", (event) => this.#take(event.clipboardData.files));
  }

  get urls() {
    return this.#images.map((image) => image.url);
  }

  set urls(urls) {
    this.#images = urls.map((url, k) => ({ url, name: `image ${k + 1}` }));
    this.#show();
  }

  async #take(files) {
    const wanted = [...files].filter((file) => KINDS.has(file.type));
    for (const file of wanted.slice(0, MOST - this.#images.length)) {
      this.#images.push({ url: await dataUri(file), name: file.name });
    }
    if (wanted.length) this.#show(); // `files` may be a live list that is empty by now
  }

  #show() {
    this.#list.replaceChildren(
      ...this.#images.map((image) => {
        const item = document.createElement("li");
        const picture = new Image();
        picture.src = image.url;
        picture.alt = image.name;
        const remove = document.createElement("button");
        remove.type = "button";
        remove.textContent = "×";
        remove.setAttribute("aria-label", `Remove ${image.name}`);
        remove.addEventListener("click", () => {
          this.#images = this.#images.filter((other) => other !== image);
          this.#show();
        });
        item.append(picture, remove);
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
