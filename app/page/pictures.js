// One generated image with its actions: open full size, download, copy, edit.

import { confirmOn, copyImage } from "./clipboard.js";
import { DRAGGED } from "./references.js";

/** Build the list item of image `k` of `count`. */
export function pictureOf({ id, input: { prompt } }, url, k, count, edit) {
  const item = document.createElement("li");
  const which = count > 1 ? ` ${k + 1} of ${count}` : "";
  const link = document.createElement("a");
  Object.assign(link, { href: url, target: "_blank", rel: "noopener", title: "Open full size", className: "picture" });
  const image = new Image();
  image.alt = count > 1 ? `${prompt} (${k + 1} of ${count})` : prompt;
  image.addEventListener("load", () => item.style.setProperty("--shape", image.naturalWidth / image.naturalHeight));
  image.src = url;
  link.append(image);
  makeDraggable(link, url);

  const download = document.createElement("a");
  Object.assign(download, { href: url, download: fileName(prompt, id, url, count > 1 ? k + 1 : 0), className: "button", textContent: "Download" });
  const actions = document.createElement("div");
  actions.className = "actions";
  actions.append(
    download,
    button("Copy", async (own) => confirmOn(own, (await copyImage(url)) === "image" ? "Copied" : "Link copied")),
    button(count > 1 ? "Edit" : "Edit this image", edit),
  );
  if (which) for (const action of actions.children) action.setAttribute("aria-label", `${action.textContent}${which}`);
  item.append(link, actions);
  return item;
}

/** Let the form take the image that is dragged. */
export function makeDraggable(element, url) {
  element.draggable = true;
  element.addEventListener("dragstart", (event) => event.dataTransfer.setData(DRAGGED, url));
}

function button(text, act) {
  const element = document.createElement("button");
  Object.assign(element, { type: "button", textContent: text });
  element.addEventListener("click", () => act(element));
  return element;
}

/** Name a file after the prompt, and after the prediction, so that equal prompts do not collide. */
function fileName(prompt, id, url, number) {
  const words = prompt.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  let name = "";
  for (const word of words) {
    if (name.length + word.length > 48) break;
    name += `${word}-`;
  }
  const extension = new URL(url, location.href).pathname.split(".").pop();
  return `${name}${id.slice(0, 8)}${number ? `-${number}` : ""}.${extension}`;
}
