// What a machine's state is in one word, and which colour and shape go with it. Pure.

import type { Node, Share } from "./types";

/** A colour with a meaning; each has its own shape as well. */
export type Tone = "good" | "busy" | "pause" | "bad" | "quiet";
export type State = "sharing" | "busy" | "paused" | "draining" | "off" | "elsewhere" | "left" | "gone" | "empty" | "unknown";

/** A machine in one word. */
export function stateOf(node: Node): State {
  if (!node.self && node.presence === "gone") return "gone";
  if (!node.self && node.presence === "left") return "left";
  if (!node.self && node.presence === "elsewhere") return "elsewhere";
  const shared = shareState(node.share);
  if (shared !== "sharing") return shared;
  if ((node.in_flight ?? 0) > 0) return "busy";
  if (node.backends && !node.backends.some((server) => server.health === "up")) return "empty";
  return "sharing";
}

/** A share state in one word. */
export function shareState(share: Share | undefined): State {
  switch (share?.state) {
    case "on":
      return "sharing";
    case "paused":
      return "paused";
    case "draining":
      return "draining";
    case "off":
      return "off";
    default:
      return "unknown";
  }
}

export function toneOf(state: State): Tone {
  switch (state) {
    case "sharing":
      return "good";
    case "busy":
      return "busy";
    case "paused":
    case "draining":
    case "elsewhere":
      return "pause";
    case "gone":
    case "empty":
      return "bad";
    default:
      return "quiet";
  }
}

/** How a request ended, as a colour. */
export function outcomeTone(status: string): Tone {
  switch (status) {
    case "completed":
      return "good";
    case "failed":
    case "incomplete":
      return "bad";
    case "rejected":
      return "pause";
    default:
      return "quiet";
  }
}

/** This machine first, then those that are there, each by name. */
export function inOrder(nodes: readonly Node[]): Node[] {
  const rank = (node: Node): number => (node.self ? 0 : node.presence === "here" ? 1 : node.presence === "elsewhere" ? 2 : 3);
  return [...nodes].sort((a, b) => rank(a) - rank(b) || a.name.localeCompare(b.name));
}

/** How full something is, as a colour: high is only worth a look, not a fault. */
export const fullness = (percent: number): Tone => (percent >= 92 ? "bad" : percent >= 75 ? "pause" : "good");
