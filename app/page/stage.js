// The stage: the prediction that runs, with its progress, or the images of one that ended.

import { pictureOf } from "./pictures.js";

const at = (id) => document.getElementById(id);
const CONFIRM_MS = 4000;
const SIZES = {
  square: [512, 512],
  square_hd: [1024, 1024],
  portrait_4_3: [768, 1024],
  portrait_16_9: [576, 1024],
  landscape_4_3: [1024, 768],
  landscape_16_9: [1024, 576],
};

export class Stage {
  isWaiting = false; // for a worker
  #edit;

  constructor({ cancel, remove, edit, reuse }) {
    this.#edit = edit;
    at("cancel").addEventListener("click", cancel);
    at("again").addEventListener("click", reuse);
    at("delete").addEventListener("click", () => {
      if (at("delete").textContent !== "Delete") return remove();
      at("delete").textContent = "Really delete?";
      setTimeout(() => (at("delete").textContent = "Delete"), CONFIRM_MS);
    });
  }

  /** Prepare for a prediction that waits or runs. */
  begin({ input: { image_size: size } }) {
    const [width, height] = SIZES[size] ?? (size?.width ? [size.width, size.height] : [1, 1]);
    at("frame").style.setProperty("--shape", width / height);
    this.#set("live");
    this.isWaiting = true;
    at("images").replaceChildren();
    at("progress").removeAttribute("value");
    this.#say("Waiting for a worker…");
  }

  /** Show an event of the stream: status, queue, loading, progress, preview or timeline. */
  advance(event, data) {
    if (event === "timeline") return; // the end follows
    if (event === "queue") return this.place(data);
    this.isWaiting = event === "status" && (data.status === "created" || data.status === "starting");
    if (event === "progress") {
      at("progress").value = data.step / data.steps;
      this.#say(`Step ${data.step} of ${data.steps}`, "off"); // a screen reader would read nothing else
    } else if (event === "loading") {
      const about = data.expected_wait_s ? `, about ${duration(data.expected_wait_s)} left` : "";
      this.#say(`Loading the model (${data.phase})${about}…`);
    } else if (event === "preview") {
      this.#preview(data.image);
    } else {
      at("progress").removeAttribute("value");
      this.#say(this.isWaiting ? "Waiting for a worker…" : "Generating…");
    }
  }

  /** Show the place in the queue. */
  place({ position, expected_wait_s: wait, expected_end_s: end }) {
    if (!position) return;
    const about = wait === null ? "" : `, starts in about ${duration(wait)}${end === null ? "" : `, ends in ${duration(end)}`}`;
    this.#say(`${position === 1 ? "Next in the queue" : `Position ${position} in the queue`}${about}`);
  }

  /** Show the end of a prediction: its images, or why there are none. */
  show(entry) {
    if (entry.status === "cancelled") return this.clear("Cancelled", entry);
    if (entry.status !== "success") return this.clear(entry.error || "The prediction failed.", entry);
    this.#set("done");
    const urls = [entry.output].flat();
    at("images").dataset.count = urls.length;
    at("images").replaceChildren(...urls.map((url, k) => pictureOf(entry, url, k, urls.length, () => this.#edit(url))));
    const { input, logs, metrics: { predict_time: seconds } } = entry;
    const time = `Generated in ${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
    this.#say([time, `seed ${input.seed}`, logs].filter(Boolean).join(" · "));
  }

  /** Show no image, and say why; an `entry` that ended without images can be deleted and reused. */
  clear(text, entry) {
    this.#set(entry ? "ended" : "empty");
    at("images").replaceChildren();
    this.#say(text);
  }

  /** Scroll to the picture if less than half of it is visible. The focus stays where the user types. */
  reveal() {
    const { top, bottom, height } = at("frame").getBoundingClientRect();
    if (Math.min(bottom, innerHeight) - Math.max(top, 0) < height / 2) at("stage").scrollIntoView({ block: "nearest" });
  }

  bringIntoView() {
    at("stage").scrollIntoView({ block: "start" });
    at("stage").focus({ preventScroll: true });
  }

  #set(state) {
    const focused = at("stage").contains(document.activeElement) ? document.activeElement : null;
    this.isWaiting = false;
    at("stage").dataset.state = state;
    at("frame").classList.toggle("busy", state === "live");
    at("empty").hidden = state !== "empty" && state !== "ended";
    at("live").hidden = state !== "live";
    at("timeline").hidden = true;
    at("done").hidden = state !== "done" && state !== "ended";
    at("delete").textContent = "Delete";
    // a button that goes away must not take the keyboard's place with it
    if (focused && !focused.checkVisibility()) at("stage").focus({ preventScroll: true });
  }

  #preview(url) {
    let image = at("images").querySelector("img");
    if (!image) {
      image = new Image();
      image.alt = "Preview";
      const item = document.createElement("li");
      item.append(image);
      at("images").dataset.count = 1;
      at("images").append(item);
    }
    image.src = url;
  }

  #say(text, live = "polite") {
    at("says").ariaLive = live;
    if (at("says").textContent !== text) at("says").textContent = text;
  }
}

function duration(seconds) {
  if (seconds < 90) return `${Math.max(1, Math.round(seconds))} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}
