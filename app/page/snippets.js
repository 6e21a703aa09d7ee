// Writes a request as curl, Python and JavaScript, with a placeholder for the key. Files are read where the code runs.

const MARK = "\ue000"; // a private character around the number of a file
const FILE = /"\ue000(\d)\ue000"/g;

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
const indented = (text, by) => text.replaceAll("\n", `\n${" ".repeat(by)}`);
const typeOf = (url) => /^data:([^;,]*)/.exec(url)[1];

/** Put marks in place of data URIs, and return their files as [{name, type}]. */
function extractFiles(body, names) {
  const files = [];
  const extract = (url, name) => {
    if (!url.startsWith("data:")) return url;
    files.push({ name, type: typeOf(url) });
    return `${MARK}${files.length - 1}${MARK}`;
  };
  const input = { ...body.input };
  if (input.image_urls) input.image_urls = input.image_urls.map((url, k) => extract(url, names[k] ?? `image-${k + 1}.png`));
  if (input.mask_url) input.mask_url = extract(input.mask_url, "mask.png");
  return [{ ...body, input }, files];
}

const withFiles = (text, files, write) => text.replaceAll(FILE, (_, k) => write(files[k]));

function python(value, depth = 0) {
  const pad = "    ".repeat(depth + 1);
  const end = "    ".repeat(depth);
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map((item) => python(item, depth)).join(", ")}]`;
  if (typeof value === "object") {
    const lines = Object.entries(value).map(([name, item]) => `${pad}${JSON.stringify(name)}: ${python(item, depth + 1)},\n`);
    return `{\n${lines.join("")}${end}}`;
  }
  return JSON.stringify(value);
}

function curl(base, body, files) {
  const json = JSON.stringify(body, null, 2);
  const start = `curl -s ${base}/v1/prediction/run -H "X-API-Key: $KEY" \\\n  -d `;
  if (!files.length) return start + quoted(json);
  const text = withFiles(json.replaceAll(/[\\$`]/g, "\\$&"), files, ({ name, type }) =>
    `"data:${type};base64,$(base64 < ${quoted(name)} | tr -d '\\n')"`,
  );
  return `${start}@- <<END\n${text}\nEND`;
}

const writers = {
  curl,

  python: (base, body, files) => `import ${files.length ? "base64, " : ""}os, requests

response = requests.post(
    ${JSON.stringify(`${base}/v1/prediction/run`)},
    headers={"X-API-Key": os.environ["KEY"]},
    json=${withFiles(python(body, 1), files, ({ name, type }) =>
      `"data:${type};base64," + base64.b64encode(open(${JSON.stringify(name)}, "rb").read()).decode()`,
    )},
).json()
print(response["output"])`,

  javascript: (base, body, files) => `${files.length ? 'import { readFileSync } from "node:fs";\n\n' : ""}const response = await fetch(${JSON.stringify(`${base}/v1/prediction/run`)}, {
  method: "POST",
  headers: { "X-API-Key": process.env.KEY },
  body: JSON.stringify(${withFiles(indented(JSON.stringify(body, null, 2), 2), files, ({ name, type }) =>
    `"data:${type};base64," + readFileSync(${JSON.stringify(name)}, "base64")`,
  )}),
});
console.log((await response.json()).output);`,
};

/** Write the code for a request; `names` are the file names of its images, for those that are data URIs. */
export const write = (language, base, body, names = []) => writers[language](base, ...extractFiles(body, names));
