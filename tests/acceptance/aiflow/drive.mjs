// Makes one call with the vendor's own client: node drive.mjs BASE_URL KEY VERB ARGUMENT(JSON).
// The client writes its own log to standard output; the last line is ours.
import Each from "@eachlabs/aiflow";

const [apiBaseUrl, auth, verb, argument] = process.argv.slice(2);
const { prediction } = new Each({ apiBaseUrl, auth });

try {
  const answer = await prediction[verb](JSON.parse(argument));
  console.log("\n" + JSON.stringify({ answer }));
} catch (error) {
  console.log("\n" + JSON.stringify({ error: error.message }));
}
