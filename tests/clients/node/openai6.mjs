import OpenAI, { toFile } from "openai6";
import operations from "./openai-operations.mjs";

export default (server) => operations(server, OpenAI, toFile);
