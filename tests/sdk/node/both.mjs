// Asks the backend and asks Herd in front of it, and says whether the client can tell the difference.

import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";

export const { BACKEND, HERD_URL, DIRECT_URL, MODEL, EMBED_MODEL, CALL_MODEL, LOOP_MODEL, THINK_MODEL } = process.env;
export const onOllama = BACKEND === "ollama";

export const messages = [{ role: "user", content: "Hello?" }];
export const schema = {
  type: "object",
  properties: { name: { type: "string" }, age: { type: "integer" } },
  required: ["name", "age"],
};
export const tools = [
  {
    type: "function",
    function: {
      name: "weather",
      description: "Tells the weather of a city.",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];

// What differs between two equal questions to one server: names of answers, times, and what a cache saved.
const changing = new Set([
  "id", "item_id", "response_id", "call_id", "created", "created_at", "completed_at", "expires_at", "modified_at",
  "total_duration", "load_duration", "prompt_eval_duration", "eval_duration", "timings", "cached_tokens",
  "prompt_eval_count",
]);

/** `value` as JSON has it, with the type's name in place of whatever changes from answer to answer. */
export function plain(value) {
  const text = JSON.stringify(value, (key, one) => (changing.has(key) ? typeof one : one));
  return text === undefined ? undefined : JSON.parse(text);
}

/** The list of what `stream` yields. */
export async function all(stream) {
  const list = [];
  for await (const one of stream) list.push(plain(one));
  return list;
}

/** What `ask` gets through Herd, after making sure that it gets the same directly. */
export async function same({ direct, herd }, ask) {
  const expected = plain(await ask(direct));
  const got = plain(await ask(herd));
  assert.deepEqual(got, expected);
  return got;
}

/** The error that `ask` throws both ways. */
export async function sameError({ direct, herd }, ask) {
  const [expected, got] = await Promise.all([direct, herd].map((client) => thrown(() => ask(client))));
  assert.equal(got.constructor, expected.constructor);
  assert.equal(got.message, expected.message);
  return got;
}

/** What `act` throws. */
export async function thrown(act) {
  try {
    await act();
  } catch (error) {
    return error;
  }
  assert.fail("no error");
}

/** Waits until `holds`; what a server does on its own can only be asked for. `fault` says what is so if it never does. */
export async function until(holds, fault) {
  for (let tries = 0; tries < 200; tries += 1) {
    if (await holds()) return;
    await pause(50);
  }
  assert.fail(`${fault}, after 10 s`);
}

/** `leave` starts a stream of the endless model and leaves it: then the backend must stop generating. */
export async function generationEndsWhenTheClientLeaves(leave) {
  const state = async () => {
    const { models } = await (await fetch(`${DIRECT_URL}/_fake/state`)).json();
    return models[LOOP_MODEL] ?? models[`${LOOP_MODEL}:latest`];
  };
  await leave(LOOP_MODEL);
  await until(async () => (await state()).in_flight === 0, "the backend still generates for a client that has left");
  assert.ok((await state()).tokens > 0);
}
