import { expect, test } from "vitest";
import * as format from "./format";

test.each([
  [0, "0 B"],
  [900, "900 B"],
  [2048, "2 KiB"],
  [17 * 2 ** 20, "17 MiB"],
  [2 ** 30, "1.0 GiB"],
  [1020 * 2 ** 20, "1.0 GiB"],
  [23.5 * 2 ** 30, "23.5 GiB"],
  [128 * 2 ** 30, "128 GiB"],
])("%d bytes is %s", (value, text) => expect(format.bytes(value)).toBe(text));

test.each([
  [1.5 * 2 ** 30, 23.5 * 2 ** 30, "1.5 of 23.5 GiB"],
  [64 * 2 ** 30, 192 * 2 ** 30, "64 of 192 GiB"],
  [0, 2 ** 30, "0.0 of 1.0 GiB"],
  [3 * 2 ** 20, 10 * 2 ** 20, "3 of 10 MiB"],
])("%d of %d bytes is %s", (used, total, text) => expect(format.bytesOf(used, total)).toBe(text));

test.each([
  [512, "512"],
  [4096, "4k"],
  [2500, "2.4k"],
  [131072, "128k"],
  [1048576, "1M"],
])("a context of %d tokens is %s", (tokens, text) => expect(format.context(tokens)).toBe(text));

test.each([
  [0, "0"],
  [9999, "9999"],
  [12345, "12\u202f345"],
  [1234567, "1\u202f234\u202f567"],
])("%d is counted as %s", (value, text) => expect(format.count(value)).toBe(text));

test.each([
  [207, "207"],
  [12345, "12.3k"],
  [123456, "123k"],
  [12_345_678, "12.3M"],
])("%d in few characters is %s", (value, text) => expect(format.compact(value)).toBe(text));

test.each([
  [0, "0 ms"],
  [0.4, "<1 ms"],
  [840, "840 ms"],
  [2400, "2.4 s"],
  [12_400, "12 s"],
  [65_000, "1 min 5 s"],
  [120_000, "2 min"],
  [12_000_000, "3 h 20 min"],
  [4 * 86_400_000, "4 d"],
])("%d ms is %s", (ms, text) => expect(format.span(ms)).toBe(text));

test.each([
  [-1, "0 s"],
  [59.9, "59 s"],
  [61, "1 min"],
  [7200, "2 h"],
  [200_000, "2 d"],
])("about %d s is %s", (seconds, text) => expect(format.about(seconds)).toBe(text));

test.each([
  [180, "3:00"],
  [61.2, "1:02"],
  [0, "0:00"],
  [-5, "0:00"],
])("%d s count down as %s", (seconds, text) => expect(format.countdown(seconds)).toBe(text));

test.each([
  [undefined, 10, undefined],
  [1, 0, undefined],
  [5, 10, 50],
  [20, 10, 100],
  [-1, 10, 0],
])("%s of %s is %s percent", (used, total, percent) => expect(format.percent(used, total)).toBe(percent));

test.each([
  [61, 3600, 600, 20],
  [1, 3600, 600, undefined],
  [undefined, 3600, 600, undefined],
  [10, undefined, 600, undefined],
  [10, 600, 600, undefined],
  [11, 1000, undefined, 10],
])("%s tokens in %s ms, the first after %s, are %s per second", (tokens, latency, ttft, rate) => expect(format.rate(tokens, latency, ttft)).toBe(rate));

test.each([
  ["7kq2m9xd", "7KQ2-M9XD"],
  ["7KQ2-M9XD", "7KQ2-M9XD"],
  ["", ""],
])("the code %s is shown as %s", (typed, shown) => expect(format.code(typed)).toBe(shown));

test("today has no date, other days do", () => {
  const noon = new Date(2026, 10, 21, 12, 0, 0).getTime();
  expect(format.clock(noon / 1000, noon)).toBe("12:00:00");
  expect(format.clock(noon / 1000 - 86400, noon)).toMatch(/^20 Nov/);
});
