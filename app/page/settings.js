// Reads from an image file how it was generated: the text that klein and Stable Diffusion web UI write into files.

const PAIR = /\s*(\w[\w \-/]*): ("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)/g;
const LORA = /(.+?):(-?\d+(?:\.\d+)?)(?:, |$)/g;
const NEGATIVE = "Negative prompt: ";
const FEWEST_PAIRS = 3; // a last line with fewer belongs to the prompt
const EXIF_IFD = 0x8769;
const USER_COMMENT = 0x9286;

/** Return {model, input} of a file, or null if it does not say how it was generated. */
export async function readSettings(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  let text = null;
  try {
    text = bytes[0] === 0x89 ? readPng(bytes) : readExif(bytes);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // the file is cut off
  }
  return text ? parse(text) : null;
}

function readPng(bytes) {
  const view = new DataView(bytes.buffer);
  for (let at = 8; at + 8 <= bytes.length; at += 12 + view.getUint32(at)) {
    const kind = latin(bytes.subarray(at + 4, at + 8));
    const data = bytes.subarray(at + 8, at + 8 + view.getUint32(at));
    if (!latin(data.subarray(0, 11)).startsWith("parameters\0")) continue;
    if (kind === "tEXt") return latin(data.subarray(11));
    if (kind === "iTXt" && data[11] === 0) return new TextDecoder().decode(data.subarray(afterZeros(data, 13, 2)));
  }
  return null;
}

function readExif(bytes) {
  const view = new DataView(bytes.buffer);
  for (let start = 0; start + 8 <= bytes.length; start += 1) {
    const mark = view.getUint32(start);
    if (mark !== 0x49492a00 && mark !== 0x4d4d002a) continue;
    const little = mark === 0x49492a00;
    const ifd = entry(view, start, start + view.getUint32(start + 4, little), EXIF_IFD, little);
    const comment = ifd && entry(view, start, start + ifd.value, USER_COMMENT, little);
    if (!comment) return null;
    const data = bytes.subarray(start + comment.value, start + comment.value + comment.count);
    return latin(data.subarray(0, 8)) === "UNICODE\0" ? new TextDecoder("utf-16be").decode(data.subarray(8)) : null;
  }
  return null;
}

/** Find the entry of a tag in a directory of a TIFF file. */
function entry(view, start, directory, tag, little) {
  for (let k = 0; k < view.getUint16(directory, little); k += 1) {
    const at = directory + 2 + 12 * k;
    if (view.getUint16(at, little) === tag) return { count: view.getUint32(at + 4, little), value: view.getUint32(at + 8, little) };
  }
  return null;
}

function parse(text) {
  const lines = text.trim().split("\n");
  let pairs = Object.fromEntries([...lines.at(-1).matchAll(PAIR)].map(([, name, value]) => [name.trim(), unquote(value)]));
  if (Object.keys(pairs).length < FEWEST_PAIRS) pairs = {};
  else lines.pop();
  const cut = lines.findIndex((line) => line.startsWith(NEGATIVE));
  const prompt = (cut < 0 ? lines : lines.slice(0, cut)).join("\n");
  const size = /^(\d+)x(\d+)$/.exec(pairs.Size ?? "");
  const loras = [...(pairs.LoRAs ?? "").matchAll(LORA)].map(([, path, scale]) => ({ path, scale: Number(scale) }));
  const input = {
    prompt,
    num_inference_steps: /^\d+$/.test(pairs.Steps) ? Number(pairs.Steps) : undefined,
    seed: /^-?\d+$/.test(pairs.Seed) ? pairs.Seed : undefined, // text: it may be too large for a number
    image_size: size ? { width: Number(size[1]), height: Number(size[2]) } : undefined,
    loras,
  };
  return { model: pairs.Model ?? "", input };
}

function unquote(value) {
  if (!value.startsWith('"')) return value.trim();
  try {
    return JSON.parse(value);
  } catch {
    return value;
  }
}

function afterZeros(data, from, count) {
  for (let at = from; at < data.length; at += 1) {
    if (data[at] === 0) count -= 1;
    if (count === 0) return at + 1;
  }
  return data.length;
}

function latin(bytes) {
  return new TextDecoder("latin1").decode(bytes);
}
