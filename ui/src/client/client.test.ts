import { afterEach, expect, test, vi } from "vitest";
import { EventReader } from "./events";
import { listen } from "./feed";
import { jsonLines } from "./lines";
import { patched, type Json } from "./patch";
import type { Snapshot } from "../types";

afterEach(() => void vi.unstubAllGlobals());

// The examples of RFC 7396, appendix A.
test.each<[Json, Json, Json]>([
  [{ a: "b" }, { a: "c" }, { a: "c" }],
  [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }],
  [{ a: "b" }, { a: null }, {}],
  [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
  [{ a: ["b"] }, { a: "c" }, { a: "c" }],
  [{ a: "c" }, { a: ["b"] }, { a: ["b"] }],
  [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
  [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }],
  [["a", "b"], ["c", "d"], ["c", "d"]],
  [{ a: "b" }, ["c"], ["c"]],
  [{ a: "foo" }, null, null],
  [{ a: "foo" }, "bar", "bar"],
  [{ e: null }, { a: 1 }, { e: null, a: 1 }],
  [[1, 2], { a: "b", c: null }, { a: "b" }],
  [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
])("%j patched with %j is %j", (target, patch, result) => {
  const before = JSON.stringify(target);
  expect(patched(target, patch)).toEqual(result);
  expect(JSON.stringify(target)).toBe(before);
});

test("events come whole, however they are cut", () => {
  const text = ": hello\n\nid: 7\nevent: snapshot\ndata: {\"a\":\ndata: 1}\n\nevent: heartbeat\r\ndata: {}\r\n\r\ndata: x\n";
  for (const size of [1, 2, 5, 1000]) {
    const reader = new EventReader();
    const events = [];
    for (let at = 0; at < text.length; at += size) events.push(...reader.push(text.slice(at, at + size)));
    expect(events).toEqual([
      { kind: "snapshot", id: "7", data: '{"a":\n1}' },
      { kind: "heartbeat", id: "7", data: "{}" },
    ]);
  }
});

const streamed = (pieces: string[]): ReadableStream<Uint8Array> =>
  new ReadableStream({
    start(controller) {
      for (const piece of pieces) controller.enqueue(new TextEncoder().encode(piece));
      controller.close();
    },
  });

test("lines come whole, the last one also without its end", async () => {
  const lines = [];
  for await (const line of jsonLines(streamed(['{"a":"\u00e4', '"}\n\n{"b"', ':2}\n{"c":3}']))) lines.push(line);
  expect(lines).toEqual([{ a: "ä" }, { b: 2 }, { c: 3 }]);
});

test("a feed that ends is said to be lost, comes back, and begins with a new snapshot", async () => {
  const answers = [
    ['event: snapshot\ndata: {"self":{"name":"a"},"fleet":{"name":"Home"}}\n\n', 'event: delta\ndata: {"self":{"name":"b"}}\n\n'],
    ['event: snapshot\ndata: {"self":{"name":"c"}}\n\n'],
  ];
  let asked = 0;
  vi.stubGlobal("fetch", () => {
    const pieces = answers[asked];
    asked += 1;
    return pieces ? Promise.resolve(new Response(streamed(pieces))) : new Promise(() => undefined);
  });
  const told: string[] = [];
  await new Promise<void>((resolve) => {
    const stop = listen({
      connection: (now) => {
        if (told.at(-1) !== now) told.push(now);
      },
      news: (whole: Snapshot, keys) => {
        told.push(`${(whole.self as { name: string }).name} ${whole.fleet ? "Home" : "-"} ${[...keys].sort().join()}`);
        if ((whole.self as { name: string }).name === "c") {
          stop();
          resolve();
        }
      },
    });
  });
  // What the new snapshot lacks is gone, and told to be.
  expect(told).toEqual(["a Home fleet,self", "live", "b Home self", "live", "lost", "c - fleet,self"]);
});
