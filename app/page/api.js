// How the page talks to the server: the key, JSON, and events as they stream.

let key = sessionStorage.getItem("klein-key") ?? "";

export const hasKey = () => key !== "";

export function setKey(given) {
  key = given.trim();
  if (key) sessionStorage.setItem("klein-key", key);
  else sessionStorage.removeItem("klein-key");
}

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Ask for JSON; throws Refused with a sentence for the person at the page. */
export async function ask(path, { method = "GET", body, signal } = {}) {
  const answer = await send(path, { method, signal, body: body && JSON.stringify(body) });
  return answer.json();
}

/** Yield {event, data} until the prediction has ended; a stream that was cut is opened again. */
export async function* follow(id, signal) {
  let last = "";
  for (let failures = 0; ; failures += 1) {
    try {
      const headers = { "Last-Event-ID": last };
      const answer = await send(`v1/prediction/${id}/events`, { signal, headers });
      for await (const event of read(answer.body)) {
        failures = 0;
        last = event.id;
        yield event;
        if (event.event === "end") return;
      }
    } catch (error) {
      const gone = error instanceof Refused && error.status < 500;
      if (signal?.aborted || gone || failures >= 30) throw error;
    }
    await new Promise((done) => setTimeout(done, 1000));
  }
}

async function send(path, { headers, ...options }) {
  let answer;
  try {
    answer = await fetch(path, { ...options, headers: { "X-API-Key": key, ...headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(503, "The server does not answer.");
  }
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, sentence(answer.status, body));
}

function sentence(status, body) {
  if (status === 401) return "The server does not know this key.";
  const details = Array.isArray(body.details)
    ? body.details.map(({ field, message }) => `${field}: ${message}`).join("; ")
    : body.details;
  return [body.error, details].filter((part) => typeof part === "string" && part).join(". ") || `Error ${status}`;
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
