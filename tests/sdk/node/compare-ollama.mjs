// The `ollama` package against Herd.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Ollama } from "ollama";

import {
  CALL_MODEL, DIRECT_URL, EMBED_MODEL, HERD_URL, MODEL, THINK_MODEL, all, messages, plain, same,
  sameError, schema, tools, until,
} from "./both.mjs";

const both = { direct: new Ollama({ host: DIRECT_URL }), herd: new Ollama({ host: HERD_URL }) };
const steady = { model: MODEL, messages, options: { temperature: 0 } };
const sorted = (models) => plain(models).sort((a, b) => (a.model < b.model ? -1 : 1));

/** A model without what Herd adds on purpose: where it is, and capabilities that Ollama's list leaves out. */
function known({ capabilities, details: { fleet_backend, fleet_nodes, ...details }, ...model }) {
  assert.ok(capabilities.length > 0);
  return { ...model, details };
}

test("list, show and ps", async () => {
  await both.herd.generate({ model: MODEL, prompt: "Hello" });
  const models = await same(both, async (c) => sorted((await c.list()).models).map(known));
  assert.ok(models.some(({ model }) => model.replace(/:latest$/, "") === MODEL));
  await same(both, (c) => c.show({ model: MODEL }));
  const running = async (c) => sorted((await c.ps()).models).map(({ model }) => model).join();
  // Herd looks at its backends from time to time.
  await until(async () => (await running(both.direct)) === (await running(both.herd)), "Herd shows other loaded models");
  assert.notEqual(await running(both.herd), "");
});

test("chat, whole and streamed", async () => {
  const answer = await same(both, (c) => c.chat(steady));
  assert.ok(answer.message.content);
  const records = await same(both, async (c) => all(await c.chat({ ...steady, stream: true })));
  assert.ok(records.at(-1).done);
});

test("tool call", async () => {
  const answer = await same(both, (c) => c.chat({ ...steady, model: CALL_MODEL, tools }));
  assert.equal(answer.message.tool_calls[0].function.name, "weather");
});

test("format", async () => {
  const answer = await same(both, (c) => c.chat({ ...steady, format: schema }));
  assert.equal(typeof JSON.parse(answer.message.content), "object");
});

test("think", async () => {
  assert.ok((await same(both, (c) => c.chat({ ...steady, model: THINK_MODEL, think: true }))).message.thinking);
});

test("generate, whole and streamed", async () => {
  const options = { model: MODEL, prompt: "Hello", options: { temperature: 0 } };
  assert.ok((await same(both, (c) => c.generate(options))).response);
  await same(both, async (c) => all(await c.generate({ ...options, stream: true })));
});

test("embed", async () => {
  const answer = await same(both, (c) => c.embed({ model: EMBED_MODEL, input: ["one", "two"] }));
  assert.equal(answer.embeddings.length, 2);
});

test("unknown model", async () => {
  const error = await sameError(both, (c) => c.chat({ ...steady, model: "no-such-model" }));
  assert.equal(error.status_code, 404);
  await sameError(both, async (c) => all(await c.chat({ ...steady, model: "no-such-model", stream: true })));
});

test("bad option", async () => {
  await sameError(both, (c) => c.chat({ ...steady, options: { temperature: "hot" } }));
});

test("unload", async () => {
  assert.equal((await same(both, (c) => c.generate({ model: MODEL, prompt: "", keep_alive: 0 }))).done_reason, "unload");
});
