// `ai` with the providers that an address of one's own makes sense for.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, Output, embedMany, generateText, jsonSchema, streamText, tool } from "ai";
import { createOllama } from "ollama-ai-provider-v2";

import { HERD_URL } from "./both.mjs";
import { address, given, said } from "./wish.mjs";

const FINISH = { stop: "stop", length: "length", "tool-calls": "tools" };

// Otherwise it prints its hints among the results.
globalThis.AI_SDK_LOG_WARNINGS = false;

/** What all providers have in common. */
class Client {
  lacks = {};
  errors = APICallError;
  notFound = APICallError;
  badRequest = APICallError;
  badRequestStatus = 400;
  unavailable = APICallError;

  constructor(url = HERD_URL) {
    this.url = url;
  }

  at(url) {
    return new this.constructor(url);
  }

  status(error) {
    return error.statusCode;
  }

  words(error) {
    return error.message;
  }

  arguments(wish) {
    const { text, image, tools, choice, results, schema, json, most, stop } = wish;
    const content = image
      ? [{ type: "text", text }, { type: "image", image: address(image), mediaType: "image/png" }]
      : text;
    const messages = [{ role: "user", content }];
    if (results.length) {
      const about = ({ id, name }) => ({ toolCallId: id, toolName: name });
      const made = results.map(([call]) => ({ type: "tool-call", ...about(call), input: call.arguments }));
      const done = results.map(([call, value]) => ({ type: "tool-result", ...about(call), output: { type: "text", value } }));
      messages.push({ role: "assistant", content: made }, { role: "tool", content: done });
    }
    return given({
      model: this.model(wish), messages,
      temperature: 0,
      maxRetries: 0,
      tools: tools.length
        ? Object.fromEntries(tools.map(({ function: { name, description, parameters } }) =>
            [name, tool({ description, inputSchema: jsonSchema(parameters) })]))
        : null,
      toolChoice: !choice || ["required", "none"].includes(choice) ? choice : { type: "tool", toolName: choice },
      output: schema ? Output.object({ schema: jsonSchema(schema) }) : json ? Output.json() : null,
      maxOutputTokens: most,
      stopSequences: stop && [stop],
      providerOptions: this.options(wish),
    });
  }

  async chat(wish) {
    if (!wish.stream) return understood(await generateText(this.arguments(wish)), 0);
    let failure;
    const result = streamText({ ...this.arguments(wish), onError: ({ error }) => (failure ??= error) });
    let pieces = 0;
    for await (const part of result.fullStream) if (part.type === "text-delta" && part.text) pieces += 1;
    if (failure) throw failure;
    const names = ["text", "reasoningText", "toolCalls", "finishReason", "usage"];
    const values = await Promise.all(names.map((name) => result[name]));
    return understood(Object.fromEntries(names.map((name, place) => [name, values[place]])), pieces);
  }

  async *pieces(wish) {
    const leaving = new AbortController();
    const result = streamText({ ...this.arguments(wish), abortSignal: leaving.signal, onError: () => {} });
    try {
      for await (const part of result.fullStream) {
        if (part.type === "error") throw part.error;
        if (part.type === "text-delta" && part.text) yield part.text;
      }
    } finally {
      leaving.abort();
    }
  }

  async embed(model, values) {
    return (await embedMany({ model: this.embedder(model), values, maxRetries: 0 })).embeddings;
  }
}

/** What `result` says. */
function understood({ text, reasoningText, toolCalls, finishReason, usage }, pieces) {
  return said({
    text,
    thinking: reasoningText ?? "",
    calls: toolCalls.map(({ toolCallId, toolName, input }) => ({ id: toolCallId, name: toolName, arguments: input })),
    finish: FINISH[finishReason],
    tokens: [usage.inputTokens, usage.outputTokens],
    pieces,
  });
}

// Of every provider.
const LACKS = {
  "several answers at once": "the package gives one",
  "log probabilities": "the provider gives none",
  "earlier answer by its id": "the provider has no such option",
  "embeddings in base64": "the package asks for what it likes",
  "list of models": "the package has no call for it",
  "count of tokens": "the package has no call for it",
  "wrong type of a parameter": "the package checks it first",
  "image by address": "the package fetches it by itself",
};

const { "log probabilities": _, ...ofOpenAI } = LACKS;
const { "earlier answer by its id": __, ...ofOpenAIResponses } = ofOpenAI;

class OpenAI extends Client {
  packages = ["ai", "@ai-sdk/openai"];
  provider = createOpenAI({ baseURL: `${this.url}/v1`, apiKey: "any" });

  embedder(model) {
    return this.provider.textEmbeddingModel(model);
  }

  async logProbabilities(wish) {
    const asked = this.arguments(wish);
    asked.providerOptions.openai.logprobs = 2;
    const { providerMetadata } = await generateText(asked);
    return providerMetadata.openai.logprobs.flat();
  }

  options({ single, think }) {
    return {
      openai: given({
        parallelToolCalls: single ? false : null,
        reasoningEffort: think === null ? null : think ? "high" : "none",
        // It would tell by the name whether a model thinks.
        forceReasoning: think === null ? null : true,
      }),
    };
  }
}

class OpenAIChat extends OpenAI {
  title = "ai for Node, @ai-sdk/openai, Chat Completions";
  lacks = {
    ...ofOpenAI,
    thinking: "the provider leaves it out of Chat Completions",
    "thinking, streamed": "the provider leaves it out of Chat Completions",
  };

  model({ model }) {
    return this.provider.chat(model);
  }
}

class OpenAIResponses extends OpenAI {
  title = "ai for Node, @ai-sdk/openai, Responses";
  lacks = { ...ofOpenAIResponses, "cut by a stop sequence": "Responses has no such parameter" };

  model({ model }) {
    return this.provider.responses(model);
  }

  /** How many tokens were read for an answer and for one that goes on from it. */
  async goOn(wish) {
    const before = await generateText(this.arguments(wish));
    const providerOptions = { openai: { previousResponseId: before.providerMetadata.openai.responseId } };
    const after = await generateText({ ...this.arguments(wish), providerOptions });
    return [before.usage.inputTokens, after.usage.inputTokens];
  }
}

class OpenAICompatible extends Client {
  packages = ["ai", "@ai-sdk/openai-compatible"];
  title = "ai for Node, @ai-sdk/openai-compatible";
  lacks = { ...LACKS, "no more than one tool call": "the provider has no such option" };
  provider = createOpenAICompatible({
    name: "herd", baseURL: `${this.url}/v1`, includeUsage: true, supportsStructuredOutputs: true,
  });

  model({ model }) {
    return this.provider.chatModel(model);
  }

  embedder(model) {
    return this.provider.textEmbeddingModel(model);
  }

  options({ think }) {
    return { herd: given({ reasoningEffort: think === null ? null : think ? "high" : "none" }) };
  }
}

class Anthropic extends Client {
  packages = ["ai", "@ai-sdk/anthropic"];
  title = "ai for Node, @ai-sdk/anthropic";
  lacks = { ...LACKS, embeddings: "Anthropic's API has none", "any JSON": "Anthropic's API has no such parameter" };
  provider = createAnthropic({ baseURL: `${this.url}/v1`, apiKey: "any" });

  model({ model }) {
    return this.provider(model);
  }

  options({ single, think, schema }) {
    // The test model ends its thinking only when the budget is used up.
    const thinking = think ? { type: "enabled", budgetTokens: 4 } : { type: "disabled" };
    return {
      anthropic: given({
        disableParallelToolUse: single || null,
        thinking: think === null ? null : thinking,
        // It would use a tool for it with models that it does not know by name.
        structuredOutputMode: schema && "outputFormat",
      }),
    };
  }
}

class Ollama extends Client {
  packages = ["ai", "ollama-ai-provider-v2"];
  title = "ai for Node, ollama-ai-provider-v2";
  lacks = {
    ...LACKS,
    "tool call, forced": "Ollama's API has no such parameter",
    "tool call, forced, streamed": "Ollama's API has no such parameter",
    "tool call, forced by name": "Ollama's API has no such parameter",
    "tool call, forbidden": "Ollama's API has no such parameter",
    "no more than one tool call": "Ollama's API has no such parameter",
    "cut by length": "the provider sends it by a name that Ollama's API does not have",
    "cut by a stop sequence": "the provider does not send it",
    "failure in mid-stream": "the provider takes an error record for the end",
  };
  provider = createOllama({ baseURL: `${this.url}/api` });

  model({ model }) {
    return this.provider(model);
  }

  embedder(model) {
    return this.provider.textEmbeddingModel(model);
  }

  // The provider looks for them in another place.
  words(error) {
    return JSON.parse(error.responseBody).error;
  }

  options({ think }) {
    return { ollama: given({ think }) };
  }
}

export const clients = [OpenAIChat, OpenAIResponses, OpenAICompatible, Anthropic, Ollama];
