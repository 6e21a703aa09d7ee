// Writes a request as curl, Python and JavaScript, with a placeholder for the key.

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
const indented = (text, by) => text.replaceAll("\n", `\n${" ".repeat(by)}`);

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

export const writers = {
  curl: (base, body) =>
    `curl -s ${base}/v1/prediction/run -H "X-API-Key: $KEY" \\\n  -d ${quoted(JSON.stringify(body, null, 2))}`,

  python: (base, body) => `import os, requests

response = requests.post(
    ${JSON.stringify(`${base}/v1/prediction/run`)},
    headers={"X-API-Key": os.environ["KEY"]},
    json=${python(body, 1)},
).json()
print(response["output"])`,

  javascript: (base, body) => `const response = await fetch(${JSON.stringify(`${base}/v1/prediction/run`)}, {
  method: "POST",
  headers: { "X-API-Key": process.env.KEY },
  body: JSON.stringify(${indented(JSON.stringify(body, null, 2), 2)}),
});
console.log((await response.json()).output);`,
};
