// Shows what is wrong with a field at that field, and moves the focus there.

const at = (id) => document.getElementById(id);
const FIELDS = {
  prompt: "prompt",
  image_urls: "files",
  mask_url: "mask-file",
  strength: "strength",
  num_inference_steps: "steps",
  guidance_scale: "guidance",
  negative_prompt: "negative",
  num_images: "count",
  output_format: "format",
  seed: "seed",
  width: "width",
  height: "height",
  loras: "loras",
  model: "model",
  key: "key",
};

/** Show problems [{field, message}] at their fields. Returns the messages that belong to no field. */
export function showAtFields(problems) {
  clearAll();
  const others = [];
  let first = null;
  for (const { field, message } of problems) {
    const input = at(inputOf(field));
    if (!input) {
      others.push(`${field}: ${message}`);
      continue;
    }
    if (input.closest("details")) input.closest("details").open = true;
    mark(input, field.startsWith("image_urls[") ? `Image ${Number(field.match(/\d+/)[0]) + 1}: ${message}` : message);
    first ??= input;
  }
  first?.focus();
  return others;
}

function clearAll() {
  for (const text of document.querySelectorAll(".field-problem")) text.remove();
  for (const input of document.querySelectorAll("[aria-invalid]")) clear(input);
}

/** Take back the problem of a field that is being edited. */
export function clearAt(input) {
  at(`${input.id}-problem`)?.remove();
  clear(input);
}

function mark(input, message) {
  if (input.hasAttribute("aria-invalid")) {
    at(`${input.id}-problem`).append(` ${message}`);
    return;
  }
  const text = document.createElement("p");
  text.id = `${input.id}-problem`;
  text.className = "problem field-problem";
  const row = input.closest(".row");
  // below a row of several fields: which one it is, and in their order
  text.textContent = row ? `${input.labels[0].firstChild.textContent.trim()}: ${message}` : message;
  let before = row ?? input.closest(".drop") ?? input;
  while (before.nextElementSibling?.classList.contains("field-problem")) before = before.nextElementSibling;
  before.after(text);
  input.setAttribute("aria-invalid", "true");
  input.dataset.description = input.getAttribute("aria-describedby") ?? "";
  input.setAttribute("aria-describedby", `${text.id} ${input.dataset.description}`.trim());
}

function clear(input) {
  input.removeAttribute("aria-invalid");
  if (input.dataset.description) input.setAttribute("aria-describedby", input.dataset.description);
  else input.removeAttribute("aria-describedby");
}

function inputOf(field) {
  if (field.startsWith("image_size")) return field.endsWith("height") ? "height" : "width";
  return FIELDS[/^\w+/.exec(field)?.[0]];
}
