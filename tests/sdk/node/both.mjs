// Asks the backend and asks Herd in front of it, and says whether the client can tell the difference.

import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";

export const {
  BACKEND, HERD_URL, DIRECT_URL, LOOP_URL, EMPTY_URL, MODEL, EMBED_MODEL, CALL_MODEL, LOOP_MODEL, THINK_MODEL, SEE_MODEL,
  DIES_MODEL,
} = process.env;
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

/**
 * What an answer in OpenAI's dialect says, whole or in pieces. Herd speaks to Ollama in Ollama's own dialect whatever the
 * client speaks, and makes Responses itself, so it says the same as Ollama's /v1 with more fields.
 */
function meaning(answer) {
  const list = Array.isArray(answer) ? answer : [answer];
  const parts = list.at(-1).response ? [list.at(-1).response] : list;
  const said = { text: "", finish: [], tokens: null };
  const calls = [];
  for (const { choices = [], output = [], status, usage } of parts) {
    for (const choice of choices) {
      const { content, text, tool_calls } = choice.message ?? choice.delta ?? choice;
      said.text += content ?? text ?? "";
      for (const [place, { index = place, function: call }] of (tool_calls ?? []).entries()) {
        calls[index] ??= [call.name, ""];
        calls[index][1] += call.arguments;
      }
      if (choice.finish_reason) said.finish.push(choice.finish_reason);
    }
    for (const { content } of output) said.text += (content ?? []).map(({ text }) => text).join("");
    if (status) said.finish.push(status);
    if (usage) said.tokens = usage.completion_tokens ?? usage.output_tokens;
  }
  return { ...said, calls: calls.map(([name, text]) => [name, JSON.parse(text)]) };
}

/** As `same`, for answers in OpenAI's dialect that Herd makes itself. */
export async function sameMeaning({ direct, herd }, ask) {
  const expected = meaning(plain(await ask(direct)));
  const got = plain(await ask(herd));
  assert.deepEqual(meaning(got), expected);
  return got;
}

/** The error that `ask` throws both ways. */
export async function sameError({ direct, herd }, ask, sameWords = true) {
  const [expected, got] = await Promise.all([direct, herd].map((client) => thrown(() => ask(client))));
  assert.equal(got.constructor, expected.constructor);
  if (sameWords) assert.equal(got.message, expected.message);
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
  assert.ok(!(await generates(LOOP_MODEL)), "somebody else asks the endless model");
  await leave(LOOP_MODEL);
  await until(async () => !(await generates(LOOP_MODEL)), "the backend still generates for a client that has left");
}

/** Whether the backend works on an answer of `model`. */
async function generates(model) {
  if (onOllama) {
    const { models } = await (await fetch(`${DIRECT_URL}/_fake/state`)).json();
    return ((models[model] ?? models[`${model}:latest`])?.in_flight ?? 0) > 0;
  }
  return (await (await fetch(`${LOOP_URL}/slots`)).json()).some((slot) => slot.is_processing);
}

/** While `ask` runs, the connection to the stand-in is cut after some tokens of the model that it is told. */
export async function failInMidStream(ask) {
  const faults = async (method, fault) =>
    assert.ok((await fetch(`${DIRECT_URL}/_fake/faults`, { method, body: fault && JSON.stringify(fault) })).ok);
  for (const model of [DIES_MODEL, `${DIES_MODEL}:latest`]) {
    // Slowly, so that the first tokens do not arrive together with the end.
    await faults("POST", { kind: "slow", after: 20, model });
    await faults("POST", { kind: "cut_after", after: 5, model });
  }
  try {
    return await ask(DIES_MODEL);
  } finally {
    await faults("DELETE");
  }
}
