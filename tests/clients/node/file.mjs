// Tells what an image file is, so that a test need not carry it.
export const kind = (bytes) => {
  const start = Buffer.from(bytes).subarray(0, 12).toString("latin1");
  return start.startsWith("\x89PNG") ? "png" : start.startsWith("\xff\xd8") ? "jpeg" : start.startsWith("RIFF") ? "webp" : start;
};

export const width = (png) => Buffer.from(png).readUInt32BE(16);

export const base64 = (text) => Buffer.from(text, "base64");

export const dataUri = (bytes) => `data:image/png;base64,${Buffer.from(bytes).toString("base64")}`;
