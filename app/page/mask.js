// The mask of the first image to edit: painted with a brush, or chosen as a file. White is redrawn.

import { clearAt, showAtFields } from "./problems.js";

const at = (id) => document.getElementById(id);
const MAX_SIDE = 1024; // px; an edit has about as many

export class Mask {
  #marks = []; // functions that draw on a canvas: strokes, or a whole mask
  #canvas = at("mask-canvas");
  #changed;
  #shown = 0; // how often the image changed: what loads for an earlier one is dropped

  /** `changed` gets the mask as a data URI, or null. */
  constructor(changed) {
    this.#changed = changed;
    this.#canvas.addEventListener("pointerdown", (event) => this.#paint(event));
    at("mask-undo").addEventListener("click", () => this.#set(this.#marks.slice(0, -1)));
    at("mask-clear").addEventListener("click", () => this.#set([]));
    at("mask-file").addEventListener("change", ({ target }) => {
      if (target.files.length) this.#load(URL.createObjectURL(target.files[0]), true);
      target.value = "";
    });
  }

  /** Show an image {url, name}, and the mask that it has already. */
  async show(image, maskUrl) {
    const turn = ++this.#shown;
    this.#marks = [];
    this.#offer(null);
    if (!image) return;
    const picture = at("mask-image");
    Object.assign(picture, { src: image.url, alt: image.name });
    await picture.decode().catch(() => {}); // the server says what is wrong with it
    if (turn !== this.#shown) return;
    const scale = Math.min(1, MAX_SIDE / Math.max(picture.naturalWidth, picture.naturalHeight));
    this.#canvas.width = Math.round(picture.naturalWidth * scale);
    this.#canvas.height = Math.round(picture.naturalHeight * scale);
    this.#draw();
    if (maskUrl) this.#load(maskUrl, false);
  }

  /** Take an image for the mask. */
  async #load(url, isNew) {
    const turn = this.#shown;
    const image = new Image();
    image.src = url;
    try {
      await image.decode();
    } catch {
      if (isNew) showAtFields([{ field: "mask_url", message: "This browser cannot read the file. Choose a PNG." }]);
      return;
    }
    if (turn !== this.#shown) return;
    const layer = layerOf(image, this.#canvas);
    this.#marks = [(context) => context.drawImage(layer, 0, 0)];
    this.#draw();
    if (isNew) this.#set(this.#marks);
    else this.#offer(url);
  }

  #paint(start) {
    if (start.button !== 0) return;
    const canvas = this.#canvas;
    const width = (at("brush").value / 100) * Math.min(canvas.width, canvas.height);
    const points = [];
    const stroke = (context) => {
      context.lineWidth = width;
      context.beginPath();
      context.moveTo(points[0][0] + 0.01, points[0][1]); // a click is a dot, but a line without a length is not drawn
      for (const [x, y] of points) context.lineTo(x, y);
      context.stroke();
    };
    const move = ({ offsetX, offsetY }) => {
      points.push([(offsetX / canvas.clientWidth) * canvas.width, (offsetY / canvas.clientHeight) * canvas.height]);
      this.#draw();
    };
    this.#marks.push(stroke);
    move(start);
    canvas.setPointerCapture(start.pointerId);
    canvas.addEventListener("pointermove", move);
    const end = () => {
      canvas.removeEventListener("pointermove", move);
      this.#set(this.#marks);
    };
    canvas.addEventListener("lostpointercapture", end, { once: true });
  }

  #set(marks) {
    this.#marks = marks;
    clearAt(at("mask-file"));
    this.#draw();
    const url = marks.length ? this.#url : null;
    this.#offer(url);
    this.#changed(url);
  }

  /** Let the user take back and save what there is. */
  #offer(url) {
    at("mask-undo").disabled = at("mask-clear").disabled = !url;
    at("mask-save").hidden = !url;
    at("mask-save").href = url ?? "";
  }

  #draw() {
    const context = this.#canvas.getContext("2d");
    context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    Object.assign(context, { strokeStyle: "#fff", lineCap: "round", lineJoin: "round" });
    for (const mark of this.#marks) mark(context);
  }

  /** The mask as a PNG: white on black. */
  get #url() {
    const sheet = Object.assign(document.createElement("canvas"), { width: this.#canvas.width, height: this.#canvas.height });
    const context = sheet.getContext("2d");
    context.fillRect(0, 0, sheet.width, sheet.height);
    context.drawImage(this.#canvas, 0, 0);
    return sheet.toDataURL("image/png");
  }
}

/** Draw a mask at the size of a canvas, and make what is black transparent. */
function layerOf(image, { width, height }) {
  const layer = Object.assign(document.createElement("canvas"), { width, height });
  const context = layer.getContext("2d");
  context.drawImage(image, 0, 0, width, height);
  const pixels = context.getImageData(0, 0, width, height);
  const { data } = pixels;
  for (let i = 0; i < data.length; i += 4) {
    data[i + 3] *= (0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2]) / 255;
    data[i] = data[i + 1] = data[i + 2] = 255;
  }
  context.putImageData(pixels, 0, 0);
  return layer;
}
