// Runs every operation of one module against a server: node run.mjs MODULE < {"url", "key", "image"}.
// The last line of the output is {OPERATION: {answer} or {error}}.
import { text } from "node:stream/consumers";

const { url, key, image } = JSON.parse(await text(process.stdin));
const { default: operations } = await import(`./${process.argv[2]}.mjs`);
const results = {};
for (const [name, operation] of Object.entries(operations({ url, key, image: Buffer.from(image, "base64") }))) {
  try {
    results[name] = { answer: await operation() };
  } catch (error) {
    results[name] = { error: `${error.status ?? error.statusCode ?? ""} ${error.message}` };
  }
}
console.log("\n" + JSON.stringify(results));
process.exit(0); // some clients keep connections open
