// One conversation with a model through the door, in Ollama's words: each line says what came, the last one the numbers.

import { jsonLines } from "./lines";
import { open, sentence } from "./http";

export interface Message {
  role: "system" | "user" | "assistant";
  content: string;
}

export interface Asked {
  model: string;
  messages: Message[];
  temperature?: number | undefined;
  /** The most tokens of the answer. */
  most?: number | undefined;
  /** Only this machine may answer. */
  only?: string | undefined;
}

export interface Piece {
  content?: string;
  thinking?: string;
}

/** How it went. */
export interface Result {
  requestId?: string | undefined;
  node?: string | undefined;
  backend?: string | undefined;
  model?: string | undefined;
  promptTokens?: number | undefined;
  answerTokens?: number | undefined;
  /** Time that the model took to write the answer. */
  writingMs?: number | undefined;
  firstMs?: number | undefined;
  totalMs: number;
}

const number = (value: unknown): number | undefined => (typeof value === "number" ? value : undefined);

/** Asks, tells each piece as it comes, and in the end how it went. Throws where there is no answer, and when stopped. */
export async function chat(asked: Asked, signal: AbortSignal, onPiece: (piece: Piece) => void): Promise<Result> {
  const begun = performance.now();
  const options: Record<string, number> = {};
  if (asked.temperature !== undefined) options["temperature"] = asked.temperature;
  if (asked.most !== undefined) options["num_predict"] = asked.most;
  const body = { model: asked.model, messages: asked.messages, stream: true, ...(Object.keys(options).length > 0 ? { options } : {}) };
  const headers: Record<string, string> = { "X-Herd-Tags": "dashboard" };
  if (asked.only !== undefined) headers["X-Fleet-Only"] = encodeURIComponent(asked.only);
  const response = await open("/api/chat", body, signal, headers);
  const told = (name: string): string | undefined => response.headers.get(name) ?? undefined;
  const result: Result = {
    requestId: told("X-Fleet-Request-Id"),
    node: told("X-Fleet-Node"),
    backend: told("X-Fleet-Backend"),
    model: told("X-Fleet-Served-Model"),
    totalMs: 0,
  };
  if (!response.body) throw new Error("no answer");
  let pieces = 0;
  let isWhole = false;
  for await (const line of jsonLines(response.body)) {
    if (typeof line["error"] === "string") throw new Error(sentence(line["error"]));
    const message = (line["message"] ?? {}) as { content?: string; thinking?: string };
    if (message.content || message.thinking) {
      pieces += 1;
      result.firstMs ??= performance.now() - begun;
      onPiece({ ...(message.content ? { content: message.content } : {}), ...(message.thinking ? { thinking: message.thinking } : {}) });
    }
    if (line["done"] === true) {
      isWhole = true;
      result.promptTokens = number(line["prompt_eval_count"]);
      result.answerTokens = number(line["eval_count"]) ?? pieces;
      const writing = number(line["eval_duration"]);
      result.writingMs = writing === undefined ? undefined : writing / 1e6;
    }
  }
  if (!isWhole) throw new Error("the answer broke off");
  result.totalMs = performance.now() - begun;
  return result;
}
