// What the page knows: the feed's last word, whether the feed lives, and what time it is.

import { createSignal } from "solid-js";
import { createStore, reconcile } from "solid-js/store";
import { listen, type Connection } from "./client/feed";
import type { Snapshot } from "./types";

const [known, setKnown] = createStore<Snapshot>({});
const [connection, setConnection] = createSignal<Connection>("connecting");
const [arrived, setArrived] = createSignal(false);
const [now, setNow] = createSignal(Date.now());
/** Requests at work each second, the newest last: what the chart of the overview draws. */
const [pulse, setPulse] = createSignal<{ at: number; running: number; waiting: number }[]>([]);

export { arrived, connection, known, now, pulse };

/** Seconds of the chart. */
export const PULSE_S = 180;

/** Takes `keys` of `whole` over, changing only what differs. */
export function take(whole: Snapshot, keys: (keyof Snapshot)[]): void {
  for (const key of keys) {
    const value = whole[key];
    setKnown(key as "traces", value === undefined ? undefined! : (reconcile(value, { key: key === "traces" ? "request_id" : "id" }) as never));
  }
  setArrived(true);
}

/** Requests at work and waiting in the whole fleet. */
export function atWork(): { running: number; waiting: number } {
  const nodes = known.nodes ?? [];
  return {
    running: nodes.reduce((sum, node) => sum + (node.in_flight ?? 0), 0),
    waiting: nodes.reduce((sum, node) => sum + (node.queued ?? 0), 0),
  };
}

/** Begins to listen; ends when told. */
export function start(): () => void {
  let version: string | undefined;
  const stop = listen({
    connection: setConnection,
    news: (whole, keys) => {
      // Another version of Herd brings another version of this page.
      if (version && whole.self && whole.self.version !== version) location.reload();
      version ??= whole.self?.version;
      take(whole, keys);
    },
  });
  const timer = setInterval(() => {
    setNow(Date.now());
    if (connection() !== "live") return;
    setPulse((before) => [...before.slice(-PULSE_S + 1), { at: Date.now() / 1000, ...atWork() }]);
  }, 1000);
  return () => {
    stop();
    clearInterval(timer);
  };
}
