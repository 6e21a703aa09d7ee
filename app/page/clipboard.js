// Copies text and images; also without HTTPS, where browsers offer no clipboard for images.

export async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** Copy the image, or its URL where the browser or another origin forbids that. Returns what was copied. */
export async function copyImage(url) {
  try {
    await navigator.clipboard.write([new ClipboardItem({ "image/png": pngOf(url) })]);
    return "image";
  } catch {
    await copyText(url);
    return "link";
  }
}

async function pngOf(url) {
  const blob = await (await fetch(url)).blob();
  if (blob.type === "image/png") return blob; // with its metadata
  const bitmap = await createImageBitmap(blob);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}

/** Show for a moment on a button what happened. */
export function confirmOn(button, text) {
  button.dataset.label ??= button.textContent;
  button.textContent = text;
  setTimeout(() => (button.textContent = button.dataset.label), 1500);
}
