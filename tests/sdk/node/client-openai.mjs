// `openai`: Chat Completions and Responses.

import assert from "node:assert/strict";

import OpenAI from "openai";

import { HERD_URL } from "./both.mjs";
import { address, given, said } from "./wish.mjs";

const FINISH = { stop: "stop", length: "length", tool_calls: "tools" };
const effort = (think) => (think ? "high" : "none");

/** What both APIs have in common. */
class Client {
  packages = ["openai"];
  errors = OpenAI.APIError;
  notFound = OpenAI.NotFoundError;
  badRequest = OpenAI.BadRequestError;
  badRequestStatus = 400;
  unavailable = OpenAI.InternalServerError;
  hot = { temperature: "hot" };

  constructor(url = HERD_URL) {
    this.sdk = new OpenAI({ baseURL: `${url}/v1`, apiKey: "any", maxRetries: 0, timeout: 60_000 });
  }

  at(url) {
    return new this.constructor(url);
  }

  status(error) {
    return error.status;
  }

  words(error) {
    return error.error.message;
  }

  async models() {
    const names = [];
    for await (const model of this.sdk.models.list()) names.push(model.id);
    return names;
  }

  async embed(model, input, packed = false) {
    const { data } = await this.sdk.embeddings.create({
      model, input, encoding_format: packed ? "base64" : "float",
    });
    return data.map(({ embedding }) => (packed ? unpacked(embedding) : embedding));
  }
}

/** Base64 of little-endian 32-bit floats, as numbers. */
function unpacked(text) {
  const bytes = Buffer.from(text, "base64");
  return Array.from({ length: bytes.length / 4 }, (_, place) => bytes.readFloatLE(4 * place));
}

export class Chat extends Client {
  title = "openai for Node, Chat Completions";
  lacks = {
    "earlier answer by its id": "Chat Completions has no such parameter",
    "count of tokens": "the package has no call for it",
  };

  arguments({ model, text, image, tools, choice, single, results, schema, json, think, most, stop, raw }) {
    const content = image
      ? [{ type: "text", text }, { type: "image_url", image_url: { url: address(image) } }]
      : text;
    const messages = [{ role: "user", content }];
    if (results.length) {
      const made = results.map(([call]) => ({
        id: call.id, type: "function", function: { name: call.name, arguments: JSON.stringify(call.arguments) },
      }));
      messages.push({ role: "assistant", content: null, tool_calls: made });
      for (const [call, result] of results) messages.push({ role: "tool", tool_call_id: call.id, content: result });
    }
    const form = schema && { type: "json_schema", json_schema: { name: "person", schema, strict: true } };
    return given({
      model, messages, temperature: 0,
      tools: tools.length ? tools : null,
      tool_choice: !choice || ["required", "none"].includes(choice) ? choice : { type: "function", function: { name: choice } },
      parallel_tool_calls: single ? false : null,
      response_format: form ?? (json ? { type: "json_object" } : null),
      reasoning_effort: think === null ? null : effort(think),
      max_completion_tokens: most,
      stop: stop && [stop],
      ...raw,
    });
  }

  chunks(wish) {
    return this.sdk.chat.completions.create({
      ...this.arguments(wish), stream: true, stream_options: { include_usage: true },
    });
  }

  async chat(wish) {
    if (wish.stream) return merged(await this.chunks(wish));
    const { choices: [{ message, finish_reason }], usage } = await this.sdk.chat.completions.create(this.arguments(wish));
    return said({
      text: message.content ?? "",
      thinking: thoughts(message),
      calls: (message.tool_calls ?? []).map((call) => read(call.id, call.function.name, call.function.arguments)),
      finish: FINISH[finish_reason],
      tokens: [usage.prompt_tokens, usage.completion_tokens],
    });
  }

  async *pieces(wish) {
    for await (const { choices: [choice] } of await this.chunks(wish)) if (choice?.delta.content) yield choice.delta.content;
  }

  async several(wish, n) {
    return (await this.sdk.chat.completions.create({ ...this.arguments(wish), n })).choices;
  }

  async logProbabilities(wish) {
    const answer = await this.sdk.chat.completions.create({ ...this.arguments(wish), logprobs: true, top_logprobs: 2 });
    return answer.choices[0].logprobs.content;
  }
}

const read = (id, name, text) => ({ id, name, arguments: JSON.parse(text) });
// Thinking is no field of OpenAI's; servers have two names for it.
const thoughts = (message) => message.reasoning_content ?? message.reasoning ?? "";

/** One answer out of the pieces of its stream, as its readers put it together. */
async function merged(chunks) {
  const whole = said();
  const calls = [];
  for await (const { choices, usage } of chunks) {
    assert.equal(whole.tokens, null, "a chunk after the counts");
    if (usage) {
      assert.deepEqual(choices, []);
      whole.tokens = [usage.prompt_tokens, usage.completion_tokens];
    }
    for (const { delta, finish_reason } of choices) {
      assert.equal(whole.finish, "", "a choice after its end");
      if (delta.content) {
        whole.pieces += 1;
        whole.text += delta.content;
      }
      whole.thinking += thoughts(delta);
      for (const { index, id, function: piece } of delta.tool_calls ?? []) {
        calls[index] ??= { id, name: piece.name, text: "" };
        calls[index].text += piece.arguments ?? "";
      }
      if (finish_reason) whole.finish = FINISH[finish_reason];
    }
  }
  whole.calls = calls.map(({ id, name, text }) => read(id, name, text));
  return whole;
}

export class Responses extends Client {
  title = "openai for Node, Responses";
  lacks = {
    "cut by a stop sequence": "Responses has no such parameter",
    "several answers at once": "Responses has no such parameter",
    "count of tokens": "the package has no call for it",
  };

  arguments({ model, text, image, tools, choice, single, results, schema, json, think, most, raw }) {
    const content = [{ type: "input_text", text }];
    if (image) content.push({ type: "input_image", image_url: address(image), detail: "auto" });
    const input = [{ role: "user", content }];
    for (const [call] of results) {
      input.push({ type: "function_call", call_id: call.id, name: call.name, arguments: JSON.stringify(call.arguments) });
    }
    for (const [call, output] of results) input.push({ type: "function_call_output", call_id: call.id, output });
    const form = schema && { type: "json_schema", name: "person", schema, strict: true };
    const format = form ?? (json ? { type: "json_object" } : null);
    return given({
      model, input, temperature: 0,
      tools: tools.length ? tools.map((tool) => ({ type: "function", ...tool.function, strict: false })) : null,
      tool_choice: !choice || ["required", "none"].includes(choice) ? choice : { type: "function", name: choice },
      parallel_tool_calls: single ? false : null,
      text: format && { format },
      reasoning: think === null ? null : { effort: effort(think) },
      max_output_tokens: most,
      ...raw,
    });
  }

  async chat(wish) {
    if (!wish.stream) return understood(await this.sdk.responses.create(this.arguments(wish)));
    const pieces = [];
    const thinking = [];
    let [number, last] = [0, null];
    // The package's own reader keeps a copy of the answer and throws on an event that does not fit it.
    for await (const event of this.sdk.responses.stream(this.arguments(wish))) {
      assert.equal(event.sequence_number, number);
      number += 1;
      if (event.type === "response.output_text.delta") pieces.push(event.delta);
      if (/^response\.reasoning(_summary)?_text\.delta$/.test(event.type)) thinking.push(event.delta);
      last = event;
    }
    assert.match(last.type, /^response\.(completed|incomplete)$/);
    const whole = understood(last.response);
    assert.equal(whole.text, pieces.join(""));
    assert.equal(whole.thinking, thinking.join(""));
    return { ...whole, pieces: pieces.length };
  }

  async *pieces(wish) {
    for await (const event of await this.sdk.responses.create({ ...this.arguments(wish), stream: true })) {
      if (event.type === "response.failed") throw new Error(event.response.error.message);
      if (event.type === "response.output_text.delta") yield event.delta;
    }
  }

  async logProbabilities(wish) {
    const answer = await this.sdk.responses.create({
      ...this.arguments(wish), top_logprobs: 2, include: ["message.output_text.logprobs"],
    });
    return answer.output[0].content[0].logprobs;
  }

  /** How many tokens were read for an answer and for one that goes on from it. */
  async goOn(wish) {
    const before = await this.sdk.responses.create(this.arguments(wish));
    const after = await this.sdk.responses.create({ ...this.arguments(wish), previous_response_id: before.id });
    return [before.usage.input_tokens, after.usage.input_tokens];
  }
}

/** What `answer` says. */
function understood(answer) {
  const of = (type) => answer.output.filter((item) => item.type === type);
  const calls = of("function_call").map((item) => read(item.call_id, item.name, item.arguments));
  const texts = (parts) => (parts ?? []).map(({ text }) => text).join("");
  let finish = calls.length ? "tools" : "stop";
  if (answer.status === "incomplete") {
    assert.equal(answer.incomplete_details.reason, "max_output_tokens");
    finish = "length";
  } else {
    assert.equal(answer.status, "completed");
  }
  const { input_tokens, output_tokens, total_tokens } = answer.usage;
  assert.equal(total_tokens, input_tokens + output_tokens);
  return said({
    text: of("message").map(({ content }) => texts(content)).join(""),
    thinking: of("reasoning").map(({ content, summary }) => texts(content) || texts(summary)).join(""),
    calls, finish,
    tokens: [input_tokens, output_tokens],
  });
}
