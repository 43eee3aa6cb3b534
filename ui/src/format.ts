// Numbers and times as a person reads them. Pure.

const trimmed = (value: number, digits: number): string => value.toFixed(digits);

/** Bytes as gibibytes: `21.4 GiB`; small ones as `640 MiB`. */
export function bytes(value: number): string {
  const gib = value / 2 ** 30;
  if (gib >= 100) return `${trimmed(gib, 0)} GiB`;
  if (gib >= 0.995) return `${trimmed(gib, 1)} GiB`;
  const mib = value / 2 ** 20;
  if (mib >= 1) return `${trimmed(mib, 0)} MiB`;
  return value >= 1024 ? `${trimmed(value / 1024, 0)} KiB` : `${value} B`;
}

/** Two amounts of the same unit: `21.4 of 31.3 GiB`. */
export function bytesOf(used: number, total: number): string {
  const [number, unit] = bytes(total).split(" ");
  const by = unit === "GiB" ? 2 ** 30 : unit === "MiB" ? 2 ** 20 : unit === "KiB" ? 1024 : 1;
  return `${trimmed(used / by, (number ?? "").includes(".") ? 1 : 0)} of ${number} ${unit}`;
}

/** Tokens of a context: `8k`, `128k`, `1M`. */
export function context(tokens: number): string {
  if (tokens >= 2 ** 20 && tokens % 2 ** 20 === 0) return `${tokens / 2 ** 20}M`;
  if (tokens >= 1024) return `${trimmed(tokens / 1024, tokens % 1024 === 0 || tokens >= 102400 ? 0 : 1)}k`;
  return String(tokens);
}

/** A count with thin separators: `12 345`. */
export function count(value: number): string {
  const text = Math.round(value).toString();
  return text.length > 4 ? text.replace(/\B(?=(\d{3})+$)/g, "\u202f") : text;
}

/** A large count in few characters: `12.3k`. */
export function compact(value: number): string {
  if (value < 10_000) return count(value);
  if (value < 1e6) return `${trimmed(value / 1e3, value < 1e5 ? 1 : 0)}k`;
  return `${trimmed(value / 1e6, value < 1e8 ? 1 : 0)}M`;
}

/** A span: `8 ms`, `2.4 s`, `1 min 5 s`, `3 h 20 min`, `4 d`. */
export function span(ms: number): string {
  if (ms < 1000) return ms > 0 && ms < 1 ? "<1 ms" : `${Math.round(ms)} ms`;
  if (ms < 10_000) return `${trimmed(ms / 1000, 1)} s`;
  const s = Math.round(ms / 1000);
  if (s < 60) return `${s} s`;
  const rest = (value: number, unit: string): string => (value > 0 ? ` ${value} ${unit}` : "");
  if (s < 3600) return `${Math.floor(s / 60)} min${rest(s % 60, "s")}`;
  const min = Math.floor(s / 60);
  if (min < 48 * 60) return `${Math.floor(min / 60)} h${rest(min % 60, "min")}`;
  return `${Math.floor(min / 1440)} d`;
}

/** A span that need not be exact, as of something that runs: `12 s`, `5 min`, `3 h`, `4 d`. */
export function about(seconds: number): string {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

/** The time of day, with the date where it is not today's. */
export function clock(unixS: number, nowMs: number): string {
  const at = new Date(unixS * 1000);
  const time = at.toLocaleTimeString("en-GB");
  if (at.toDateString() === new Date(nowMs).toDateString()) return time;
  return `${at.toLocaleDateString("en-GB", { day: "numeric", month: "short" })}, ${time}`;
}

/** `1:05` for a countdown. */
export function countdown(seconds: number): string {
  const left = Math.max(0, Math.ceil(seconds));
  return `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
}

/** A share of a whole as 0 to 100, whatever came in. */
export function percent(used: number | undefined, total: number | undefined): number | undefined {
  if (used === undefined || total === undefined || !(total > 0)) return undefined;
  return Math.min(100, Math.max(0, (used / total) * 100));
}

/** Tokens per second of a request's answer, where it can be told. */
export function rate(tokens: number | undefined, latencyMs: number | undefined, ttftMs: number | undefined): number | undefined {
  if (tokens === undefined || latencyMs === undefined || tokens < 2) return undefined;
  const generating = latencyMs - (ttftMs ?? 0);
  return generating >= 1 ? (tokens - 1) / (generating / 1000) : undefined;
}

/** A rate: `8.4`, `57`. */
export const perSecond = (value: number): string => (value < 10 ? trimmed(value, 1) : trimmed(value, 0));

/** A code as it is read aloud: groups of four. */
export const code = (text: string): string => text.replace(/[^0-9a-z]/gi, "").toUpperCase().replace(/(.{4})(?=.)/g, "$1-");
