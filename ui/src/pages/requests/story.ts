// One request told in sentences, and cut into the parts of its time. Pure.

import * as format from "../../format";
import type { Tone } from "../../health";
import type { Trace, Why } from "../../types";
import { words } from "../../words";

const text = words.why;

export interface Line {
  text: string;
  tone: Tone;
}

const FORMATS: Record<string, string> = { ollama: "Ollama's", openai: "OpenAI's", anthropic: "Anthropic's" };

/** The app of a request. What this page sends carries a tag: browsers only call themselves by their engine. */
export const appOf = (trace: Trace): string | undefined => (trace.tags.includes("dashboard") ? words.requests.dashboard : trace.app);

const ended = (said: string): string => (/[.!?…]$/.test(said.trim()) ? said.trim() : `${said.trim()}.`);

/** What happened, in the order in which it did. */
export function story(why: Why): Line[] {
  const lines: Line[] = [];
  const say = (sentence: string | undefined, tone: Tone = "quiet"): void => {
    if (sentence) lines.push({ text: sentence, tone });
  };
  const app = appOf(why) ?? (why.client_ip ? `A program on ${why.client_ip}` : "A program");
  say(text.came(app, why.original_model || words.none, FORMATS[why.original_format] ?? why.original_format));
  const queued = why.queued_ms ?? 0;
  const loaded = why.loaded_ms ?? 0;
  if (why.status !== "rejected") {
    if (loaded > 0) say(text.waitedLoad(format.span(Math.max(queued, loaded)), format.span(loaded)), "pause");
    else if (queued >= 50) say(text.waitedFor(format.span(queued)), "pause");
    else say(text.notWaited);
  }
  const best = why.candidates[0];
  if (best) {
    const where = [best.node ?? why.node_id, best.backend].filter(Boolean).join(" · ");
    const heat = best.loaded ? text.hot : text.cold;
    say(`${text.chosen(where, why.candidates.length)} ${heat}`, "good");
  }
  for (const attempt of why.attempts) {
    if (attempt.error) say(text.tried([attempt.node, attempt.backend].filter(Boolean).join(" · "), ended(attempt.error), format.span(attempt.took_ms)), "bad");
  }
  if (why.fallback_used) say(text.fallback(why.original_model, why.model), "pause");
  if (why.context_verdict) say(text.context[why.context_verdict], why.context_verdict === "cut" ? "bad" : "quiet");
  if (why.time_to_first_token_ms !== undefined) say(text.first(format.span(why.time_to_first_token_ms)));
  const speed = format.rate(why.completion_tokens, why.latency_ms, why.time_to_first_token_ms);
  if (why.completion_tokens !== undefined && why.latency_ms !== undefined) {
    const took = format.span(why.latency_ms - (why.time_to_first_token_ms ?? 0));
    say(text.wrote(format.count(why.completion_tokens), took, speed === undefined ? undefined : format.perSecond(speed)));
  }
  const end = text.ended[why.status] ?? why.status;
  const tone: Tone = why.status === "completed" ? "good" : why.status === "client_disconnected" ? "quiet" : "bad";
  say(why.error_message ? `${end.replace(/\.$/, "")}: ${ended(why.error_message)}` : ended(end), tone);
  return lines;
}

export interface Part {
  kind: "waited" | "loaded" | "reading" | "writing";
  label: string;
  ms: number;
}

/** Where the time went; parts that took none are left out. */
export function parts(why: Why): Part[] {
  const total = why.latency_ms ?? 0;
  const queued = Math.min(why.queued_ms ?? 0, total);
  const loaded = Math.min(why.loaded_ms ?? 0, queued);
  const first = Math.min(Math.max(why.time_to_first_token_ms ?? total, queued), total);
  const all: Part[] = [
    { kind: "waited", label: text.waited, ms: queued - loaded },
    { kind: "loaded", label: text.loaded, ms: loaded },
    { kind: "reading", label: text.reading, ms: first - queued },
    { kind: "writing", label: text.writing, ms: total - first },
  ];
  return all.filter((part) => part.ms >= 0.5);
}
