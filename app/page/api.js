// Calls the server: holds the key, sends requests, reads event streams.

import { forget, recall, remember } from "./memory.js";

const SILENT = "The server does not respond.";
let key = recall("key") ?? "";

export const hasKey = () => key !== "";

export function setKey(value) {
  key = value.trim();
  if (key) remember("key", key);
  else forget("key");
}

export class RequestError extends Error {
  /** `problems` are those of single fields: [{field, message}]. */
  constructor(status, message, problems = []) {
    super(message);
    this.status = status;
    this.problems = problems;
  }
}

/** Import a module of the page; throws RequestError if it cannot be loaded. */
export async function load(name) {
  try {
    return await import(`./${name}.js`);
  } catch {
    throw new RequestError(503, SILENT);
  }
}

/** Send a request and return the JSON of the response; throws RequestError with a message to show. */
export async function request(path, { method = "GET", body, signal } = {}) {
  const response = await send(path, { method, signal, body: body && JSON.stringify(body) });
  return response.status === 204 ? null : response.json();
}

/** Yield {event, data} until the prediction ends. Reconnects if the stream is cut. */
export async function* follow(id, signal) {
  let last = "";
  for (let failures = 0; ; failures += 1) {
    try {
      const headers = { "Last-Event-ID": last };
      const response = await send(`v1/prediction/${id}/events`, { signal, headers });
      for await (const event of read(response.body)) {
        failures = 0;
        last = event.id;
        yield event;
        if (event.event === "end") return;
      }
    } catch (error) {
      const isFinal = error instanceof RequestError && error.status < 500;
      if (signal?.aborted || isFinal || failures >= 30) throw error;
    }
    await new Promise((done) => setTimeout(done, 1000));
  }
}

async function send(path, { headers, ...options }) {
  if (!/^[!-~]*$/.test(key)) throw new RequestError(401, "This is not a key: it has characters that no key has.");
  let response;
  try {
    response = await fetch(path, { ...options, headers: { "X-API-Key": key, ...headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new RequestError(503, SILENT);
  }
  if (response.ok) return response;
  throw errorOf(response.status, await response.json().catch(() => ({})));
}

function errorOf(status, { error, details }) {
  if (status === 401) return new RequestError(status, "The server does not accept this key.");
  const problems = Array.isArray(details) ? details : [];
  const said = problems.length ? problems.map(({ field, message }) => `${field}: ${message}`).join("; ") : details;
  const message = [error, said].filter((part) => typeof part === "string" && part).join(". ");
  return new RequestError(status, message || `Error ${status}`, problems);
}

async function* read(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
        const event = parse(text.slice(0, end));
        if (event) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parse(block) {
  const fields = {};
  for (const line of block.split("\n")) {
    const at = line.indexOf(": ");
    if (at > 0) fields[line.slice(0, at)] = line.slice(at + 2);
  }
  return fields.event && { event: fields.event, id: fields.id, data: JSON.parse(fields.data) };
}
