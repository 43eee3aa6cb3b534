// The `openai` package against Herd.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";

import {
  CALL_MODEL, DIRECT_URL, EMBED_MODEL, HERD_URL, MODEL, all, messages, onOllama, plain, same, sameError, sameMeaning, schema,
  thrown, tools,
} from "./both.mjs";

const client = (url) => new OpenAI({ baseURL: `${url}/v1`, apiKey: "any", maxRetries: 0, timeout: 60_000 });
const both = { direct: client(DIRECT_URL), herd: client(HERD_URL) };
const steady = { model: MODEL, messages, temperature: 0 };
// Ollama's own /v1 ignores `tool_choice`; there a model that always calls takes its place.
const calling = onOllama ? { ...steady, model: CALL_MODEL, tools } : { ...steady, tools, tool_choice: "required" };

// Only a server that speaks the client's dialect has its answers passed on as they are.
const sameChat = onOllama ? sameMeaning : same;

test("models", async () => {
  const [direct, herd] = await Promise.all([both.direct, both.herd].map(async (c) => (await all(await c.models.list())).map(({ id }) => id)));
  assert.ok(direct.length > 0);
  // There Herd has several servers behind it, of which one is asked directly.
  for (const name of direct) assert.ok(herd.includes(name), name);
  if (onOllama) assert.equal(herd.length, direct.length);
});

test("chat", async () => {
  const answer = await sameChat(both, (c) => c.chat.completions.create(steady));
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.ok(answer.choices[0].message.content);
});

test("chat stream with usage", async () => {
  const options = { ...steady, stream: true, stream_options: { include_usage: true } };
  const chunks = await sameChat(both, async (c) => all(await c.chat.completions.create(options)));
  assert.ok(chunks.length > 3);
  assert.ok(chunks.at(-1).usage.completion_tokens > 0);
});

test("tool call, whole and streamed", async () => {
  const answer = await sameChat(both, (c) => c.chat.completions.create(calling));
  assert.equal(answer.choices[0].message.tool_calls[0].function.name, "weather");
  await sameChat(both, async (c) => all(await c.chat.completions.create({ ...calling, stream: true })));
});

test("structured output", async () => {
  const response_format = { type: "json_schema", json_schema: { name: "person", strict: true, schema } };
  const answer = await sameChat(both, (c) => c.chat.completions.create({ ...steady, response_format }));
  assert.equal(typeof JSON.parse(answer.choices[0].message.content), "object");
});

test("completion", async () => {
  const answer = await sameChat(both, (c) => c.completions.create({ model: MODEL, prompt: "Hello", temperature: 0, max_tokens: 20 }));
  assert.ok(answer.choices[0].text);
});

test("response, whole and streamed", async () => {
  const options = { model: MODEL, input: "Hello?", temperature: 0 };
  assert.equal((await sameMeaning(both, (c) => c.responses.create(options))).status, "completed");
  const events = await sameMeaning(both, async (c) => all(await c.responses.create({ ...options, stream: true })));
  assert.equal(events.at(-1).type, "response.completed");
});

test("embeddings in base64 and as numbers", async () => {
  const options = { model: EMBED_MODEL, input: ["one", "two"] };
  const packed = await same(both, (c) => c.embeddings.create(options));
  const numbers = await same(both, (c) => c.embeddings.create({ ...options, encoding_format: "float" }));
  assert.equal(packed.data.length, 2);
  assert.ok(packed.data[0].embedding.every((one, place) => Math.abs(one - numbers.data[0].embedding[place]) < 1e-5));
});

test("answers say who answered", async () => {
  const { data, response } = await both.herd.chat.completions.create(steady).withResponse();
  assert.ok(response.headers.get("x-fleet-request-id"));
  assert.equal(plain(data).choices[0].finish_reason, "stop");
});

test("unknown model", async () => {
  const ask = (c) => c.chat.completions.create({ ...steady, model: "no-such-model" });
  if (onOllama) {
    assert.ok((await sameError(both, ask, false)) instanceof OpenAI.NotFoundError);
  } else {
    // a llama-server with one model answers to any name; Herd does not
    assert.ok((await thrown(() => ask(both.herd))) instanceof OpenAI.NotFoundError);
  }
});

test("bad request", async () => {
  await sameError(both, (c) => c.chat.completions.create({ ...steady, temperature: "hot" }), !onOllama);
});
