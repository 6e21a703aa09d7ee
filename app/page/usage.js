// Shows what the key used in the last 30 days, by day and model.

import { hasKey, request } from "./api.js";

const at = (id) => document.getElementById(id);

export async function showUsage() {
  if (!hasKey()) {
    at("usage-total").textContent = "Enter an API key first.";
    return;
  }
  const { usage } = await request("v1/usage").catch((error) => ({ usage: null, error }));
  if (!usage) {
    at("usage-total").textContent = "The usage cannot be read now.";
    return;
  }
  const sum = (name) => usage.reduce((total, row) => total + row[name], 0);
  at("usage-total").textContent =
    `Last 30 days: ${sum("images")} images, ${sum("megapixels").toFixed(1)} MP, ${sum("engine_s").toFixed(1)} s, $${sum("dollars").toFixed(4)} at the hosted price`;
  at("usage-table").hidden = usage.length === 0;
  at("usage-rows").replaceChildren(
    ...usage.map(({ day, model, images, megapixels, dollars }) => {
      const line = document.createElement("tr");
      for (const text of [day, model, images, megapixels.toFixed(1), dollars.toFixed(4)]) {
        line.append(Object.assign(document.createElement("td"), { textContent: text }));
      }
      return line;
    }),
  );
}
