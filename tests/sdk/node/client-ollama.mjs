// `ollama`.

import assert from "node:assert/strict";

import { Ollama as Package } from "ollama";

import { HERD_URL, onOllama } from "./both.mjs";
import { given, said } from "./wish.mjs";

const NO_PARAMETER = "Ollama's API has no such parameter";

export class Ollama {
  packages = ["ollama"];
  title = "ollama for Node";
  lacks = {
    "tool call, forced": NO_PARAMETER,
    "tool call, forced, streamed": NO_PARAMETER,
    "tool call, forced by name": NO_PARAMETER,
    "tool call, forbidden": NO_PARAMETER,
    "no more than one tool call": NO_PARAMETER,
    "image by address": "the package takes files and bytes",
    "several answers at once": NO_PARAMETER,
    "earlier answer by its id": NO_PARAMETER,
    "embeddings in base64": NO_PARAMETER,
    "count of tokens": "the package has no call for it",
  };
  // The package does not export its class of errors.
  errors = Error;
  notFound = Error;
  badRequest = Error;
  // Ollama itself says 500 to it.
  badRequestStatus = onOllama ? 500 : 400;
  unavailable = Error;
  hot = { options: { temperature: "hot" } };

  constructor(url = HERD_URL) {
    this.sdk = new Package({ host: url });
  }

  at(url) {
    return new Ollama(url);
  }

  status(error) {
    return error.status_code;
  }

  words(error) {
    return error.error;
  }

  arguments({ model, text, image, tools, results, schema, json, think, most, stop, raw }) {
    const messages = [given({ role: "user", content: text, images: image && [image] })];
    if (results.length) {
      const made = results.map(([{ name, arguments: given }]) => ({ function: { name, arguments: given } }));
      messages.push({ role: "assistant", content: "", tool_calls: made });
      for (const [{ name }, content] of results) messages.push({ role: "tool", tool_name: name, content });
    }
    return given({
      model, messages,
      options: given({ temperature: 0, num_predict: most, stop: stop && [stop] }),
      tools: tools.length ? tools : null,
      format: schema ?? (json ? "json" : null),
      think,
      ...raw,
    });
  }

  async chat(wish) {
    if (!wish.stream) return merged([await this.sdk.chat(this.arguments(wish))], 0);
    const records = [];
    for await (const record of await this.sdk.chat({ ...this.arguments(wish), stream: true })) records.push(record);
    return merged(records, records.filter(({ message }) => message.content).length);
  }

  async *pieces(wish) {
    const stream = await this.sdk.chat({ ...this.arguments(wish), stream: true });
    try {
      for await (const { message } of stream) if (message.content) yield message.content;
    } finally {
      stream.abort();
    }
  }

  async logProbabilities(wish) {
    return (await this.sdk.chat({ ...this.arguments(wish), logprobs: true, top_logprobs: 2 })).logprobs;
  }

  async embed(model, input) {
    return (await this.sdk.embed({ model, input })).embeddings;
  }

  async models() {
    return (await this.sdk.list()).models.map(({ model }) => model);
  }
}

/** What `records` say together; only the last is the end. */
function merged(records, pieces) {
  assert.deepEqual(records.map(({ done }) => done), records.map((_, place) => place === records.length - 1));
  const last = records.at(-1);
  const calls = records.flatMap(({ message }) => message.tool_calls ?? []);
  return said({
    text: records.map(({ message }) => message.content ?? "").join(""),
    thinking: records.map(({ message }) => message.thinking ?? "").join(""),
    calls: calls.map(({ id, function: { name, arguments: given } }) => ({ id, name, arguments: given })),
    finish: calls.length && last.done_reason === "stop" ? "tools" : last.done_reason,
    tokens: [last.prompt_eval_count, last.eval_count],
    pieces,
  });
}
