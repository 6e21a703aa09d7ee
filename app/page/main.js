// Connects the parts of the page: the form creates a prediction, and the stage shows its progress and result.

import { request, follow, hasKey, RequestError, setKey } from "./api.js";
import { Composer } from "./composer.js";
import { Gallery } from "./gallery.js";
import { writers } from "./snippets.js";
import { Stage } from "./stage.js";
import { Status } from "./status.js";

const at = (id) => document.getElementById(id);
const base = new URL(".", location.href).href.replace(/\/$/, "");

const stage = new Stage();
const status = new Status();
const gallery = new Gallery(open, showError);
const composer = new Composer(() => write(composer.body));
let shown = null; // {body, model} of the prediction on the stage
let call = null; // the request body that the code shows
let running = null; // {id, stop} of the unfinished prediction

function write(body) {
  call = body;
  const language = document.querySelector("[role=tab][aria-selected=true]").id.slice("tab-".length);
  const { previews: _, ...input } = call.input;
  at("snippet").textContent = writers[language](base, { ...call, input });
}

function showError(error) {
  at("problem").textContent = error.message;
  if (error instanceof RequestError && error.status === 401) askForKey();
}

function askForKey() {
  at("key-field").hidden = false;
  at("rekey").hidden = true;
  at("key").focus();
}

async function enter() {
  at("problem").textContent = "";
  gallery.clear();
  if (!hasKey()) return;
  status.update();
  try {
    await gallery.load();
    at("key-field").hidden = true;
    at("rekey").hidden = false;
  } catch (error) {
    showError(error);
  }
}

async function generate() {
  at("problem").textContent = "";
  if (!at("prompt").value.trim()) return showError(new Error("Enter a prompt."));
  const body = composer.body;
  const { model, input } = body;
  const stop = new AbortController();
  const mine = (running = { id: null, stop });
  at("cancel").hidden = false;
  at("generate").disabled = true;
  stage.begin(body.input.image_size);
  write(body);
  try {
    if (!hasKey()) throw new RequestError(401, "Enter an API key first.");
    const created = await request("v1/prediction", { method: "POST", body: { model, input: { ...input, previews: true } } });
    mine.id = created.predictionID;
    status.update();
    for await (const { event, data } of follow(mine.id, stop.signal)) show(event, data, body.model);
  } catch (error) {
    if (!stop.signal.aborted) {
      stage.clear("");
      showError(error);
    }
  }
  running = null;
  at("cancel").hidden = true;
  at("generate").disabled = false;
  status.update();
}

function show(event, data, model) {
  if (event === "status") {
    stage.say({ created: "Waiting for a worker…", starting: "Waiting for a worker…" }[data.status] ?? "Generating…");
  } else if (event === "progress") {
    stage.progress(data.step, data.steps);
    stage.say(`Step ${data.step} of ${data.steps}`);
  } else if (event === "preview") {
    stage.preview(data.image);
  } else if (event === "end") {
    end(data, model);
  }
}

function end(body, model) {
  if (body.status === "success") {
    open(body, model);
    gallery.add(body, model);
  } else if (body.status === "cancelled") {
    stage.clear("Cancelled");
  } else {
    stage.clear("");
    showError(new Error(body.error || "The prediction failed."));
  }
}

function open(body, model) {
  shown = { body, model };
  const urls = [body.output].flat();
  stage.show(urls, body.input.prompt);
  const seconds = body.metrics.predict_time.toFixed(body.metrics.predict_time < 10 ? 2 : 1);
  stage.say([`Generated in ${seconds} s`, `seed ${body.input.seed}`, body.logs].filter(Boolean).join(" · "));
  write({ model, input: body.input });
}

function select(tab) {
  for (const other of document.querySelectorAll("[role=tab]")) {
    other.setAttribute("aria-selected", other === tab);
    other.tabIndex = other === tab ? 0 : -1;
  }
  at("panel").setAttribute("aria-labelledby", tab.id);
  write(call);
}

function paint(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  at("theme").textContent = `Theme: ${theme}`;
  sessionStorage.setItem("klein-theme", theme);
}

at("key").addEventListener("change", () => {
  setKey(at("key").value);
  at("key").value = "";
  enter();
});
at("key").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault(); // Enter would submit the form
  at("prompt").focus(); // fires the change event of the key
});
at("rekey").addEventListener("click", askForKey);
at("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!running) generate();
});
at("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("composer").requestSubmit();
});
at("cancel").addEventListener("click", () => {
  if (running?.id) request(`v1/prediction/${running.id}/cancel`, { method: "POST" }).catch(showError);
});
at("edit").addEventListener("click", () => composer.edit([shown.body.output].flat()[0]));
at("again").addEventListener("click", () => {
  composer.fill(shown.model, shown.body.input);
  at("prompt").focus();
});
at("copy").addEventListener("click", async () => {
  getSelection().selectAllChildren(at("snippet"));
  // navigator.clipboard exists only over HTTPS and on localhost
  if (navigator.clipboard) await navigator.clipboard.writeText(at("snippet").textContent);
  else document.execCommand("copy");
  at("copy").textContent = "Copied";
  setTimeout(() => (at("copy").textContent = "Copy"), 1500);
});
at("tabs").addEventListener("click", (event) => {
  const tab = event.target.closest("[role=tab]");
  if (tab) select(tab);
});
at("tabs").addEventListener("keydown", (event) => {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const here = tabs.indexOf(event.target);
  if (!step || here < 0) return;
  const next = tabs[(here + step + tabs.length) % tabs.length];
  select(next);
  next.focus();
});
at("theme").addEventListener("click", () => {
  const themes = ["auto", "light", "dark"];
  const now = themes.indexOf(document.documentElement.dataset.theme ?? "auto");
  paint(themes[(now + 1) % themes.length]);
});

paint(sessionStorage.getItem("klein-theme") ?? "auto");
request("v1/models").then((models) => (composer.models = models), showError).then(() => write(composer.body));
enter();
