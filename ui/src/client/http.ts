// The one place that talks to the door. Changing something needs the token of a session; looking needs nothing.

import { createSignal } from "solid-js";

const TOKEN = "herd.session";
/** How long an answer that is not a stream may take. */
const PATIENCE_MS = 30_000;

/** Why something did not work, in words for the person who asked. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

const stored = (): string | null => {
  try {
    return sessionStorage.getItem(TOKEN);
  } catch {
    return null;
  }
};

const [token, setToken] = createSignal<string | null>(stored());

/** Whether this page may change things. */
export const signedIn = (): boolean => token() !== null;

function keep(value: string | null): void {
  setToken(value);
  try {
    if (value === null) sessionStorage.removeItem(TOKEN);
    else sessionStorage.setItem(TOKEN, value);
  } catch {
    // Without storage the session lasts as long as the page.
  }
}

const headers = (): Record<string, string> => {
  const sent: Record<string, string> = { "Content-Type": "application/json" };
  const value = token();
  if (value) sent["Authorization"] = `Bearer ${value}`;
  return sent;
};

async function checked(response: Response): Promise<Response> {
  if (response.ok) return response;
  // The session is over, most likely because Herd was started anew.
  if (response.status === 401) keep(null);
  let said = `HTTP ${response.status}`;
  try {
    const text = await response.text();
    said = text || said;
    const body: unknown = JSON.parse(text);
    const error = (body as { error?: unknown }).error;
    if (typeof error === "string") said = error;
    else if (typeof (error as { message?: unknown })?.message === "string") said = (error as { message: string }).message;
  } catch {
    // Not JSON: the text as it came.
  }
  throw new Refused(response.status, sentence(said));
}

/** As a sentence: a capital first and a full stop last. */
export function sentence(text: string): string {
  const trimmed = text.trim();
  const begun = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?…)]$/.test(begun) ? begun : `${begun}.`;
}

async function within(path: string, init: RequestInit): Promise<Response> {
  const signal = AbortSignal.timeout(PATIENCE_MS);
  return checked(await fetch(path, { ...init, signal }));
}

/** What the door tells at `path`. */
export async function look<T>(path: string): Promise<T> {
  return (await (await within(path, {})).json()) as T;
}

/** Has the door change something. */
export async function change<T>(path: string, body: unknown): Promise<T> {
  return (await (await within(path, { method: "POST", headers: headers(), body: JSON.stringify(body) })).json()) as T;
}

/** Opens a stream: an order whose answer comes bit by bit until `signal`. */
export async function open(path: string, body: unknown, signal: AbortSignal, more: Record<string, string> = {}): Promise<Response> {
  const sent = { ...headers(), ...more };
  return checked(await fetch(path, { method: "POST", headers: sent, body: JSON.stringify(body), signal }));
}

/** Signs in with the ticket in the page's address, if there is one, and forgets a session that is over. */
export async function signIn(): Promise<string | undefined> {
  const ticket = new URLSearchParams(location.hash.slice(1)).get("t");
  if (ticket) {
    // Out of sight at once: a ticket works but once, and nobody needs to see it.
    history.replaceState(history.state, "", location.pathname + location.search);
    try {
      const { token } = await change<{ token: string }>("/dashboard/api/session", { ticket });
      keep(token);
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
    return undefined;
  }
  if (!signedIn()) return undefined;
  try {
    const response = await fetch("/dashboard/api/session", { headers: headers() });
    const { signed_in } = (await response.json()) as { signed_in: boolean };
    if (!signed_in) keep(null);
  } catch {
    // Not now; the next change will tell.
  }
  return undefined;
}

/** Ends the session. */
export async function signOut(): Promise<void> {
  const sent = headers();
  keep(null);
  await fetch("/dashboard/api/session", { method: "DELETE", headers: sent }).catch(() => undefined);
}
