// One function per row of docs/clients.md: asks a client for a feature and holds the answer to what is known beforehand.
// A function ends well, or returns the refusal (`No`), or throws.

import assert from "node:assert/strict";

import {
  CALL_MODEL, EMBED_MODEL, EMPTY_URL, MODEL, SEE_MODEL, THINK_MODEL, failInMidStream, generationEndsWhenTheClientLeaves,
  onOllama, schema, thrown, tools,
} from "./both.mjs";
import { No, NotApplicable, PNG, bothTools, wish } from "./wish.mjs";

// What the model says to anything, and what the one that thinks says afterwards.
const SAYS = "This reply comes from a tiny but real model .";
const ANSWER = onOllama ? "The answer is 4 ." : SAYS;

export const features = new Map();

/** Two rows: `title` and the same streamed. */
function streamed(title, tried) {
  features.set(title, (client) => tried(client, false));
  features.set(`${title}, streamed`, (client) => tried(client, true));
}

/** The refusal that `ask` meets, if it names what was refused; without one, nothing. */
async function refused(client, ask, word) {
  try {
    await ask();
  } catch (error) {
    if (!(error instanceof client.errors)) throw error;
    assert.equal(client.status(error), 400, error);
    assert.ok(client.words(error).includes(word), client.words(error));
    return new No(client.words(error));
  }
}

function isWeather(call) {
  assert.ok(call.id);
  assert.equal(call.name, "weather");
  assert.equal(typeof call.arguments.city, "string");
}

streamed("chat", async (client, stream) => {
  const said = await client.chat(wish({ stream }));
  assert.equal(said.text.trim(), SAYS);
  assert.equal(said.finish, "stop");
  assert.deepEqual(said.calls, []);
  if (stream) assert.ok(said.pieces > 3, said.pieces);
});

streamed("tokens counted", async (client, stream) => {
  const [read, made] = (await client.chat(wish({ stream }))).tokens;
  assert.ok(read > 0);
  assert.ok(made > 5);
});

features.set("cut by length", async (client) => {
  const said = await client.chat(wish({ most: 3 }));
  assert.equal(said.finish, "length");
  const words = said.text.trim().split(" ").length;
  assert.ok(said.text && words < 9, said.text);
});

features.set("cut by a stop sequence", async (client) => {
  const said = await client.chat(wish({ stop: "tiny" }));
  assert.equal(said.text.trim(), "This reply comes from a");
  assert.equal(said.finish, "stop");
});

streamed("tool call", async (client, stream) => {
  const said = await client.chat(wish({ model: CALL_MODEL, tools, stream }));
  isWeather(said.calls[0]);
  assert.equal(said.finish, "tools");
});

streamed("tool call, forced", async (client, stream) => {
  const said = await client.chat(wish({ tools, choice: "required", stream }));
  isWeather(said.calls[0]);
  assert.equal(said.finish, "tools");
  assert.ok(!said.text.includes("{"), said.text);
});

features.set("tool call, forced by name", async (client) => {
  for (const choice of ["weather", "time"]) {
    const said = await client.chat(wish({ tools: bothTools, choice }));
    assert.deepEqual(said.calls.map((call) => call.name), [choice]);
  }
});

features.set("tool call, forbidden", async (client) => {
  // The model has only one thing on its mind and may go on about it.
  const said = await client.chat(wish({ model: CALL_MODEL, tools, choice: "none", most: 100 }));
  assert.deepEqual(said.calls, []);
  assert.ok(said.text);
});

streamed("two tool calls", async (client, stream) => {
  if (!onOllama) throw new NotApplicable("the test model makes one call");
  const said = await client.chat(wish({ model: CALL_MODEL, tools, stream }));
  assert.equal(said.calls.length, 2);
  said.calls.forEach(isWeather);
  assert.notEqual(said.calls[0].id, said.calls[1].id);
});

features.set("no more than one tool call", async (client) => {
  const said = await client.chat(wish({ model: CALL_MODEL, tools, single: true }));
  assert.equal(said.calls.length, 1);
  isWeather(said.calls[0]);
});

features.set("results of tools", async (client) => {
  const results = ["Bern", "Genf"].map((city) => [
    { id: `call_${city}`, name: "weather", arguments: { city } }, `Rain in ${city}.`,
  ]);
  assert.equal((await client.chat(wish({ tools, results }))).text.trim(), SAYS);
});

streamed("structured output", async (client, stream) => {
  const person = JSON.parse((await client.chat(wish({ schema, stream }))).text);
  assert.equal(typeof person.name, "string");
  assert.ok(Number.isInteger(person.age));
});

features.set("any JSON", async (client) => {
  assert.equal(typeof JSON.parse((await client.chat(wish({ json: true, most: 200 }))).text), "object");
});

streamed("thinking", async (client, stream) => {
  const said = await client.chat(wish({ model: THINK_MODEL, think: true, stream }));
  assert.ok(said.thinking.trim().split(" ").length > 2, said.thinking);
  assert.equal(said.text.trim(), ANSWER);
});

features.set("thinking, switched off", async (client) => {
  const said = await client.chat(wish({ model: THINK_MODEL, think: false }));
  assert.equal(said.thinking, "");
  assert.ok(said.text);
});

features.set("image", async (client) => {
  if (!SEE_MODEL) throw new NotApplicable("there is no test model that sees");
  assert.equal((await client.chat(wish({ model: SEE_MODEL, image: PNG }))).text.trim(), SAYS);
});

features.set("image to a model that cannot see", async (client) => {
  const error = await thrown(() => client.chat(wish({ image: PNG })));
  assert.ok(error instanceof client.errors, error);
  assert.ok([400, 500].includes(client.status(error)), error);
  assert.ok(client.words(error).includes("image"), error);
});

features.set("image by address", async (client) => {
  if (!SEE_MODEL) throw new NotApplicable("there is no test model that sees");
  // Nobody listens there: whoever fetches it fails.
  const ask = wish({ model: SEE_MODEL, image: "http://127.0.0.1:9/x.png" });
  return (await refused(client, () => client.chat(ask), "image")) ?? assert.fail("no refusal");
});

features.set("several answers at once", (client) =>
  refused(client, async () => assert.equal((await client.several(wish(), 2)).length, 2), "`n`"));

features.set("log probabilities", (client) =>
  refused(client, async () => assert.ok((await client.logProbabilities(wish())).length > 5), "logprobs"));

features.set("earlier answer by its id", (client) =>
  refused(client, async () => {
    // What was said before is read as well.
    const [before, after] = await client.goOn(wish());
    assert.ok(after > before + 10, `${before} ${after}`);
  }, "previous_response_id"));

features.set("embeddings", async (client) => {
  const vectors = await client.embed(EMBED_MODEL, ["one", "two"]);
  assert.equal(vectors.length, 2);
  assert.ok(vectors.flat().every((number) => typeof number === "number"));
  assert.equal(vectors[0].length, vectors[1].length);
  assert.ok(vectors[0].length > 100);
});

features.set("embeddings in base64", async (client) => {
  const packed = await client.embed(EMBED_MODEL, ["one", "two"], true);
  const numbers = await client.embed(EMBED_MODEL, ["one", "two"]);
  assert.equal(packed[1].length, numbers[1].length);
  assert.ok(packed[1].every((one, place) => Math.abs(one - numbers[1][place]) < 1e-5));
});

features.set("list of models", async (client) => {
  const names = (await client.models()).map((name) => name.replace(/:latest$/, ""));
  for (const name of [MODEL, CALL_MODEL, THINK_MODEL]) assert.ok(names.includes(name), names);
});

features.set("count of tokens", async (client) => {
  const short = await client.count(wish());
  const long = await client.count(wish({ text: "Hello? ".repeat(50) }));
  assert.ok(short > 0 && short < long, `${short} ${long}`);
});

streamed("unknown model", async (client, stream) => {
  const error = await thrown(() => client.chat(wish({ model: "no-such-model", stream })));
  assert.ok(error instanceof client.notFound, error);
  assert.equal(client.status(error), 404);
  assert.ok(client.words(error).includes("no-such-model"), error);
});

features.set("wrong type of a parameter", async (client) => {
  const error = await thrown(() => client.chat(wish({ raw: client.hot })));
  assert.ok(error instanceof client.badRequest, error);
  assert.equal(client.status(error), client.badRequestStatus);
  assert.ok(client.words(error).includes("temperature"), error);
});

features.set("no inference server", async (client) => {
  const error = await thrown(() => client.at(EMPTY_URL).chat(wish()));
  assert.ok(error instanceof client.unavailable, error);
  assert.equal(client.status(error), 503);
  assert.ok(client.words(error).includes("server"), error);
});

features.set("failure in mid-stream", async (client) => {
  if (!onOllama) throw new NotApplicable("the engine does not fail when told to");
  await failInMidStream((model) =>
    thrown(async () => {
      for await (const _ of client.pieces(wish({ model, stream: true })));
    }));
});

features.set("leaving in mid-stream", (client) =>
  generationEndsWhenTheClientLeaves(async (model) => {
    let count = 0;
    for await (const _ of client.pieces(wish({ model, stream: true }))) if ((count += 1) === 5) break;
  }));

features.set("many at once", async (client) => {
  const answers = await Promise.all(Array.from({ length: 8 }, () => client.chat(wish())));
  assert.deepEqual(answers.map(({ text }) => text.trim()), Array(8).fill(SAYS));
});
