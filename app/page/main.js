// Starts the page: the form, its code, the key. What needs a key is in predictions.js, loaded with the first key.

import { hasKey, load, request, RequestError, setKey } from "./api.js";
import { Code } from "./code.js";
import { Composer } from "./composer.js";
import { forget, isRemembered, keepOnDevice, recall, remember } from "./memory.js";

const at = (id) => document.getElementById(id);
const THEMES = ["auto", "light", "dark"];

const code = new Code();
const composer = new Composer(({ hasNewImages }) => {
  showCode();
  keepDraft(hasNewImages);
});
let loading; // of predictions.js, a promise
let models; // of the server, a promise

function predictions() {
  loading ??= load("predictions").then(({ Predictions }) => new Predictions({ composer, code, onError: showError }));
  loading.catch(() => (loading = undefined));
  return loading;
}

const showCode = () => code.show(composer.body, composer.images.map(({ name }) => name));

function keepDraft(hasNewImages) {
  const { model, input: { image_urls: _, ...input } } = composer.body;
  remember("draft", JSON.stringify({ model, input }));
  if (!hasNewImages || remember("images", JSON.stringify(composer.images))) return;
  remember("images", JSON.stringify(composer.images.map(({ name }) => ({ name }))));
}

/** Fill the form with the models, once; a failure is tried again at the next call. */
function loadModels() {
  models ??= request("v1/models").then((served) => {
    composer.models = served;
    restoreDraft();
    showCode();
  });
  models.catch(() => (models = undefined));
  return models;
}

/** Recall a value; one that another version or program left behind must not stop the page. */
function recallJson(name) {
  try {
    return JSON.parse(recall(name));
  } catch {
    forget(name);
    return null;
  }
}

function restoreDraft() {
  const { model, input } = recallJson("draft") ?? {};
  if (input) composer.fill(model, { ...input, prompt: at("prompt").value || input.prompt }, recallJson("images") ?? []);
}

/** Show problems at their fields, and those of no field above the button. */
async function showProblems(problems) {
  const { showAtFields } = await load("problems");
  at("problem").textContent = showAtFields(problems).join(" ");
}

function showError(error) {
  if (error.problems?.length) showProblems(error.problems);
  else at("problem").textContent = error.message;
  if (!(error instanceof RequestError) || error.status !== 401) return;
  setKey("");
  askForKey();
}

function askForKey() {
  at("key-field").hidden = false;
  at("rekey").hidden = true;
  at("keep").checked = isRemembered();
  at("forget").hidden = !hasKey();
  at("key").focus();
}

async function enter() {
  at("problem").textContent = "";
  if (!hasKey()) return;
  try {
    await (await predictions()).enter();
    await loadModels();
    at("key-field").hidden = true;
    at("rekey").hidden = false;
    if (at("keep").checked !== isRemembered()) keepOnDevice(at("keep").checked);
  } catch (error) {
    showError(error);
  }
}

/** Take a key out of the address, as `klein up` prints it; it must not stay in the history of the browser. */
function takeKeyFromAddress() {
  const key = /^#key=(.+)$/.exec(location.hash)?.[1];
  if (!key) return false;
  history.replaceState(null, "", location.pathname + location.search);
  try {
    setKey(decodeURIComponent(key));
  } catch {
    setKey(key); // it has a % of its own
  }
  return true;
}

/** Find what keeps the form from being sent, and show it. */
async function isComplete() {
  const problems = composer.check();
  if (!hasKey()) {
    askForKey();
    problems.unshift({ field: "key", message: "Enter an API key first." });
  }
  await showProblems(problems);
  return problems.length === 0;
}

async function generate() {
  at("generate").disabled = true;
  at("generate-label").textContent = "Sending…";
  try {
    await loadModels(); // the form can be sent before they have arrived
    if (await isComplete()) await (await predictions()).generate(composer.body);
  } catch (error) {
    showError(error);
  }
  at("generate").disabled = false;
  at("generate-label").textContent = "Generate";
}

function paint(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  at("theme").textContent = `Theme: ${theme}`;
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
at("keep").addEventListener("change", () => hasKey() && keepOnDevice(at("keep").checked));
at("rekey").addEventListener("click", askForKey);
at("forget").addEventListener("click", () => {
  for (const name of ["key", "draft", "images"]) forget(name);
  keepOnDevice(false);
  location.reload();
});
at("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!at("generate").disabled) generate();
});
at("composer").addEventListener("input", async ({ target }) => {
  if (target.ariaInvalid) (await load("problems")).clearAt(target);
});
at("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("composer").requestSubmit();
});
at("examples").addEventListener("click", ({ target }) => {
  if (!target.matches("button")) return;
  at("prompt").value = target.textContent;
  at("prompt").dispatchEvent(new Event("input", { bubbles: true }));
  generate();
});
at("theme").addEventListener("click", () => {
  const theme = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % THEMES.length];
  paint(theme);
  remember("theme", theme);
});
at("usage").addEventListener("toggle", async () => at("usage").open && (await load("usage")).showUsage());
addEventListener("unhandledrejection", ({ reason }) => reason instanceof RequestError && showError(reason));
addEventListener("hashchange", () => takeKeyFromAddress() && enter());

paint(recall("theme") ?? "auto");
if (/^Mac|iPhone|iPad/.test(navigator.platform)) at("shortcut").textContent = "⌘ ↵";
takeKeyFromAddress();
at("keep").checked = isRemembered();
loadModels().catch(showError);
showCode();
enter();
