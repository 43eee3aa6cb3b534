// Keeps what is shown true: one snapshot, then what changed. Comes back by itself when the connection is lost.

import { EventReader } from "./events";
import { patched, type Json } from "./patch";
import type { Snapshot } from "../types";

export type Connection = "connecting" | "live" | "lost";

export interface Told {
  /** What is known now, and which of its keys are new. */
  news(whole: Snapshot, keys: (keyof Snapshot)[]): void;
  connection(now: Connection): void;
}

/** Silence after which the connection is taken to be dead: two heartbeats and some. */
const SILENCE_MS = 25_000;
const LONGEST_WAIT_MS = 8_000;
/** A page that nobody sees for this long listens no more until it is seen again: browsers open six connections to a
 *  host, and pages in the background would take them from the one in front. */
const UNSEEN_MS = 20_000;

/** Listens until the function it returns is called. */
export function listen(told: Told, path = "/dashboard/api/events"): () => void {
  let whole: Json = {};
  let ended = false;
  let current: AbortController | undefined;
  let wake: (() => void) | undefined;
  let failures = 0;

  const apply = (kind: string, data: string): void => {
    if (kind !== "snapshot" && kind !== "delta") return;
    const change = JSON.parse(data) as Json & object;
    const before = whole;
    whole = kind === "snapshot" ? change : patched(whole, change);
    const keys = new Set([...Object.keys(change), ...(kind === "snapshot" ? Object.keys(before as object) : [])]);
    told.news(whole as Snapshot, [...keys] as (keyof Snapshot)[]);
    failures = 0;
    if (!ended) told.connection("live");
  };

  const once = async (): Promise<void> => {
    const hangUp = new AbortController();
    current = hangUp;
    let timer = setTimeout(() => hangUp.abort(), SILENCE_MS);
    try {
      const response = await fetch(path, { headers: { Accept: "text/event-stream" }, signal: hangUp.signal, cache: "no-store" });
      if (!response.ok || !response.body) throw new Error(`HTTP ${response.status}`);
      const reader = response.body.getReader();
      const events = new EventReader();
      const decoder = new TextDecoder();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        clearTimeout(timer);
        timer = setTimeout(() => hangUp.abort(), SILENCE_MS);
        for (const event of events.push(decoder.decode(value, { stream: true }))) apply(event.kind, event.data);
      }
    } finally {
      clearTimeout(timer);
      hangUp.abort();
    }
  };

  const wait = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });

  let unseen: ReturnType<typeof setTimeout> | undefined;
  const seen = (): void => {
    clearTimeout(unseen);
    if (document.visibilityState === "hidden") unseen = setTimeout(() => current?.abort(), UNSEEN_MS);
    else wake?.();
  };
  document.addEventListener("visibilitychange", seen);
  addEventListener("online", seen);

  void (async () => {
    while (!ended) {
      await once().catch(() => undefined);
      if (ended) return;
      told.connection("lost");
      failures += 1;
      // Half a second, then twice as long each time; spread, so that many pages do not come back at once.
      const pause = Math.min(LONGEST_WAIT_MS, 250 * 2 ** Math.min(failures, 6)) * (0.75 + Math.random() / 2);
      await wait(document.visibilityState === "hidden" ? 10 * LONGEST_WAIT_MS : pause);
    }
  })();

  return () => {
    ended = true;
    current?.abort();
    wake?.();
    clearTimeout(unseen);
    document.removeEventListener("visibilitychange", seen);
    removeEventListener("online", seen);
  };
}
