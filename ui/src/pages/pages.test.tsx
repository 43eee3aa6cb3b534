import { render } from "solid-js/web";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Node, Trace, Why } from "../types";
import { askFor, canChat, chatModels, testModel } from "../choice";
import { inOrder, stateOf, toneOf } from "../health";
import { blocks, Prose, spans } from "../parts/prose";
import { Meter, Slots } from "../parts/meter";
import { take } from "../state";
import { MachineCard } from "./overview/machine";
import { byHour } from "./overview";
import { matches, together, withoutNulls } from "./requests";
import { parts, story } from "./requests/story";
import { groupOf } from "./settings";

const node = (change: Partial<Node> = {}): Node => ({ name: "studio", id: "a", self: false, leads: false, presence: "here", share: { state: "on", reason: "Serving 3 models." }, ...change });
const trace = (change: Partial<Trace> = {}): Trace => ({ request_id: "r1", model: "qwen3:14b", original_model: "qwen3:14b", node_id: "studio", status: "completed", retry_count: 0, fallback_used: false, excluded_nodes: [], client_ip: "127.0.0.1", original_format: "openai", timestamp: 100, tags: [], ...change });
const why = (change: Partial<Why> = {}): Why => ({ ...trace(), candidates: [], attempts: [], unretriable: false, ...change });

let dispose: (() => void) | undefined;
let root: HTMLElement;
beforeEach(() => {
  root = document.createElement("div");
  document.body.append(root);
});
afterEach(() => {
  dispose?.();
  dispose = undefined;
  root.remove();
  vi.restoreAllMocks();
});
const show = (part: () => import("solid-js").JSX.Element): HTMLElement => {
  dispose = render(part, root);
  return root;
};

test.each([
  [{ presence: "gone" }, "gone", "bad"],
  [{ presence: "left" }, "left", "quiet"],
  [{ presence: "elsewhere" }, "elsewhere", "pause"],
  [{ self: true, presence: "gone" }, "sharing", "good"],
  [{ in_flight: 2 }, "busy", "busy"],
  [{ in_flight: 2, share: { state: "paused", reason: "" } }, "paused", "pause"],
  [{ share: { state: "draining", reason: "" } }, "draining", "pause"],
  [{ share: { state: "off", reason: "" } }, "off", "quiet"],
  [{ share: undefined }, "unknown", "quiet"],
  [{ backends: [] }, "empty", "bad"],
  [{ backends: [{ id: "o", kind: "ollama", health: "up", in_flight: 0, models: 0, loaded: 0 }] }, "sharing", "good"],
] as [Partial<Node>, string, string][])("a machine with %j is %s", (change, state, tone) => {
  expect(stateOf(node(change))).toBe(state);
  expect(toneOf(stateOf(node(change)))).toBe(tone);
});

test("this machine comes first, those that are gone last", () => {
  const nodes = [node({ name: "z", presence: "gone" }), node({ name: "b" }), node({ name: "y", self: true }), node({ name: "a" })];
  expect(inOrder(nodes).map(({ name }) => name)).toEqual(["y", "a", "b", "z"]);
});

test("a card tells how its machine is, and which models it has ready", () => {
  take({ lanes: [{ name: "qwen3:14b", node: "studio", backend: "ollama", capabilities: [], state: "loaded", in_flight: 1, waiting: 2, slots: 4, loaded: { context: 32768, size: 9 * 2 ** 30 } }] }, ["lanes"]);
  const card = show(() => <ul><MachineCard node={node({ leads: true, in_flight: 1, machine: { cpu_percent: 12.4, memory_total: 64 * 2 ** 30, memory_available: 48 * 2 ** 30, gpus: [{ name: "RTX 5090", memory_total: 32 * 2 ** 30, memory_used: 8 * 2 ** 30 }] } })} /></ul>);
  const text = card.textContent ?? "";
  for (const expected of ["studio", "Working", "Leader", "12 %", "16.0 of 64.0 GiB", "RTX 5090", "8.0 of 32.0 GiB", "qwen3:14b", "32k context", "9.0 GiB", "1 request running"]) expect(text).toContain(expected);
  expect(card.querySelectorAll(".slot").length).toBe(4);
  expect(card.querySelectorAll(".slot.used").length).toBe(1);
  expect(card.querySelector(".slots")?.getAttribute("aria-label")).toBe("1 of 4 slots in use, 2 waiting");
});

test("a machine that is gone shows since when, and nothing that is not so any more", () => {
  const card = show(() => <ul><MachineCard node={node({ presence: "gone", silent_for_s: 75, machine: { cpu_percent: 50 } })} /></ul>);
  expect(card.textContent).toContain("Gone");
  expect(card.textContent).toContain("Not heard for 1 min");
  expect(card.querySelector(".meter")).toBeNull();
});

test("what is not known is said to be so", () => {
  const meter = show(() => <Meter label="CPU" percent={undefined} />);
  expect(meter.textContent).toContain("not known");
  expect(meter.querySelector("[role=meter]")).toBeNull();
});

test("many slots are a number", () => {
  expect(show(() => <Slots used={3} total={64} waiting={0} />).textContent).toBe("3/64");
});

test("what a model writes is never markup", () => {
  const prose = show(() => <Prose text={"<img src=x onerror=alert(1)> **<b>bold</b>** `<i>`\n\n```html\n<script>alert(1)</script>\n```\n- <u>one</u>"} />);
  for (const tag of ["img", "b", "i", "script", "u"]) expect(prose.querySelector(tag)).toBeNull();
  expect(prose.textContent).toContain("<script>alert(1)</script>");
});

test("an answer is cut into paragraphs, lists and code, also while it comes", () => {
  expect(blocks("# Title\none\ntwo\n\n1. a\n2. b\n- c\n```rust\nfn x() {}\n")).toEqual([
    { kind: "heading", text: "Title" },
    { kind: "paragraph", text: "one\ntwo" },
    { kind: "list", ordered: true, items: ["a", "b"] },
    { kind: "list", ordered: false, items: ["c"] },
    { kind: "code", language: "rust", text: "fn x() {}\n" },
  ]);
  expect(spans("a **b** `c*` *d*")).toEqual([
    { kind: "plain", text: "a " },
    { kind: "strong", text: "b" },
    { kind: "plain", text: " " },
    { kind: "code", text: "c*" },
    { kind: "plain", text: " *d*" },
  ]);
});

test.each([
  [{ search: "", status: "", node: "" }, true],
  [{ search: "QWEN r1", status: "", node: "" }, true],
  [{ search: "llama", status: "", node: "" }, false],
  [{ search: "", status: "failed", node: "" }, false],
  [{ search: "", status: "completed", node: "studio" }, true],
  [{ search: "", status: "", node: "other" }, false],
])("the filter %j lets the request through: %s", (filter, expected) => expect(matches(trace(), filter)).toBe(expected));

test("requests come once, newest first, as they are now", () => {
  const list = together([trace({ request_id: "b", timestamp: 2, status: "failed" })], [trace({ request_id: "a", timestamp: 3 }), trace({ request_id: "b", timestamp: 2 })]);
  expect(list.map(({ request_id, status }) => [request_id, status])).toEqual([["a", "completed"], ["b", "failed"]]);
});

test("nulls are what is not known", () => expect(withoutNulls({ a: null, b: 0 })).toEqual({ b: 0 }));

test("a request is told from its beginning to its end", () => {
  const told = story(
    why({
      app: "aider",
      queued_ms: 1200,
      loaded_ms: 800,
      latency_ms: 5000,
      time_to_first_token_ms: 1500,
      completion_tokens: 71,
      context_verdict: "grown",
      candidates: [{ node: "studio", backend: "ollama", in_flight: 0, slots: 1, loaded: false, thermal: 0, memory_fit: 0, queue_depth: 0, wait_time: 0, role_affinity: 0, availability_trend: 0, context_fit: 0 }],
      attempts: [{ node: "old", backend: "ollama", error: "connection refused", took_ms: 20 }, { backend: "ollama", error: null, took_ms: 10 }],
    }),
  ).map(({ text }) => text);
  expect(told).toEqual([
    "aider asked for qwen3:14b in OpenAI's format.",
    "It waited 1.2 s, of which 800 ms went into loading the model.",
    "studio · ollama was the only one that could take it. The model was not in memory there.",
    "old · ollama failed after 20 ms: connection refused.",
    "The model was loaded again with a larger context, because the prompt needs it.",
    "The first words came after 1.5 s.",
    "The answer of 71 tokens took 3.5 s, 20 tokens per second.",
    "It was answered to the end.",
  ]);
  expect(story(why({ status: "rejected", error_message: "model 'x' not found" })).at(-1)?.text).toBe("It was refused: model 'x' not found.");
});

test("the parts of a request's time are all of it", () => {
  const cut = parts(why({ latency_ms: 5000, queued_ms: 1200, loaded_ms: 800, time_to_first_token_ms: 1500 }));
  expect(cut.map(({ kind, ms }) => [kind, ms])).toEqual([["waited", 400], ["loaded", 800], ["reading", 300], ["writing", 3500]]);
  expect(parts(why({ latency_ms: 300 })).map(({ kind }) => kind)).toEqual(["reading"]);
  expect(parts(why())).toEqual([]);
});

test("models that can chat are offered, those in memory first", () => {
  const model = (name: string, change = {}) => ({ name, node: "studio", backend: "o", capabilities: ["completion"], ...change });
  const all = [model("b"), model("a"), model("z", { loaded: {} }), model("e", { capabilities: ["embedding"] }), model("bge-small", { capabilities: [] })];
  expect(chatModels(all)).toEqual(["z", "a", "b"]);
  expect(canChat(model("x", { capabilities: [] }))).toBe(true);
  expect(testModel(node(), [model("large", { size: 9 }), model("small", { size: 1 })])).toBe("small");
  expect(testModel(node(), [model("large", { size: 9, loaded: {} }), model("small", { size: 1 })])).toBe("large");
  expect(testModel(node({ name: "other" }), all)).toBeUndefined();
  expect([askFor("m", undefined), askFor("m", node({ self: true })), askFor("m", node())]).toEqual(["m", "m", "m@studio"]);
});

test("each hour of the day has its bar", () => {
  const now = Date.UTC(2026, 10, 21, 12, 30);
  const [times, counts] = byHour([{ hour_bucket: now / 1000 - 1800, request_count: 5 }, { hour_bucket: "2026-11-21 10:00:00", request_count: 2 }], now);
  expect(times.length).toBe(24);
  expect(times.at(-1)).toBe(Date.UTC(2026, 10, 21, 12) / 1000);
  expect(counts.slice(-3)).toEqual([2, 0, 5]);
});

test.each([
  ["FLEET_NODE_ID", "machine"],
  ["FLEET_PORT", "door"],
  ["FLEET_NODE_OLLAMA_HOST", "servers"],
  ["FLEET_QUEUE_WAIT", "requests"],
  ["FLEET_MESH_PORT", "fleet"],
  ["FLEET_PAUSE_MEETINGS", "sharing"],
  ["FLEET_SOMETHING_NEW", "other"],
])("%s belongs to %s", (name, group) => expect(groupOf(name)).toBe(group));
