import OpenAI, { toFile } from "openai";
import operations from "./openai-operations.mjs";

export default (server) => operations(server, OpenAI, toFile);
