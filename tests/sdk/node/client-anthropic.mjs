// `@anthropic-ai/sdk`.

import assert from "node:assert/strict";

import Anthropic from "@anthropic-ai/sdk";

import { HERD_URL } from "./both.mjs";
import { given, said } from "./wish.mjs";

const FINISH = { end_turn: "stop", stop_sequence: "stop", max_tokens: "length", tool_use: "tools" };
const NO_PARAMETER = "Messages has no such parameter";

export class Messages {
  packages = ["@anthropic-ai/sdk"];
  title = "@anthropic-ai/sdk for Node";
  lacks = {
    "any JSON": NO_PARAMETER,
    "several answers at once": NO_PARAMETER,
    "log probabilities": NO_PARAMETER,
    "earlier answer by its id": NO_PARAMETER,
    embeddings: "the package has none",
    "embeddings in base64": "the package has none",
  };
  errors = Anthropic.APIError;
  notFound = Anthropic.NotFoundError;
  badRequest = Anthropic.BadRequestError;
  badRequestStatus = 400;
  unavailable = Anthropic.InternalServerError;
  hot = { temperature: "hot" };

  constructor(url = HERD_URL) {
    this.sdk = new Anthropic({ baseURL: url, apiKey: "any", maxRetries: 0, timeout: 60_000 });
  }

  at(url) {
    return new Messages(url);
  }

  status(error) {
    return error.status;
  }

  words(error) {
    assert.equal(error.error.type, "error");
    return error.error.error.message;
  }

  arguments({ model, text, image, tools, choice, single, results, schema, think, most, stop, raw }) {
    const content = [{ type: "text", text }];
    if (image?.includes("://")) content.push({ type: "image", source: { type: "url", url: image } });
    else if (image) content.push({ type: "image", source: { type: "base64", media_type: "image/png", data: image } });
    const messages = [{ role: "user", content }];
    if (results.length) {
      const made = results.map(([call]) => ({ type: "tool_use", id: call.id, name: call.name, input: call.arguments }));
      const done = results.map(([call, result]) => ({ type: "tool_result", tool_use_id: call.id, content: result }));
      messages.push({ role: "assistant", content: made }, { role: "user", content: done });
    }
    const type = { required: "any", none: "none" }[choice ?? ""] ?? (choice ? "tool" : "auto");
    return given({
      model, messages,
      max_tokens: most ?? 2000,
      temperature: 0,
      tools: tools.length
        ? tools.map(({ function: { name, description, parameters } }) => ({ name, description, input_schema: parameters }))
        : null,
      tool_choice: choice || single
        ? given({ type, name: type === "tool" ? choice : null, disable_parallel_tool_use: single || null })
        : null,
      output_config: schema && { format: { type: "json_schema", schema } },
      // The test model ends its thinking only when the budget is used up.
      thinking: think === null ? null : think ? { type: "enabled", budget_tokens: 4 } : { type: "disabled" },
      stop_sequences: stop && [stop],
      ...raw,
    });
  }

  async chat(wish) {
    if (!wish.stream) return understood(await this.sdk.messages.create(this.arguments(wish)));
    const stream = this.sdk.messages.stream(this.arguments(wish));
    const pieces = [];
    stream.on("text", (piece) => pieces.push(piece));
    const whole = understood(await stream.finalMessage());
    assert.equal(whole.text, pieces.join(""));
    return { ...whole, pieces: pieces.length };
  }

  async *pieces(wish) {
    for await (const event of this.sdk.messages.stream(this.arguments(wish))) {
      if (event.type === "content_block_delta" && event.delta.type === "text_delta") yield event.delta.text;
    }
  }

  async models() {
    const names = [];
    for await (const model of this.sdk.models.list()) names.push(model.id);
    return names;
  }

  async count(wish) {
    const { model, messages } = this.arguments(wish);
    return (await this.sdk.messages.countTokens({ model, messages })).input_tokens;
  }
}

/** What `answer` says. */
function understood({ content, stop_reason, usage }) {
  const of = (type) => content.filter((block) => block.type === type);
  return said({
    text: of("text").map(({ text }) => text).join(""),
    thinking: of("thinking").map(({ thinking }) => thinking).join(""),
    calls: of("tool_use").map(({ id, name, input }) => ({ id, name, arguments: input })),
    finish: FINISH[stop_reason],
    tokens: [usage.input_tokens, usage.output_tokens],
  });
}
