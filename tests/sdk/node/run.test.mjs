// Runs what fits the backend: the suites that compare Herd with it, and each client with each feature.
// One file, so that one test runs at a time.

import { clients } from "./client-ai.mjs";
import { Messages } from "./client-anthropic.mjs";
import { Ollama } from "./client-ollama.mjs";
import { Chat, Responses } from "./client-openai.mjs";
import { onOllama } from "./both.mjs";
import { tests, write } from "./cells.mjs";

await import("./compare-openai.mjs");
if (onOllama) await import("./compare-ollama.mjs");
for (const Client of [Chat, Responses, Messages, Ollama, ...clients]) tests(new Client());
write();
