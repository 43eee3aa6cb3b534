// Shows a code until a machine has joined with it, its time is over, or the window is closed: that withdraws it.

import { createSignal, Match, onCleanup, onMount, Show, Switch } from "solid-js";
import { change, open } from "../../client/http";
import { jsonLines } from "../../client/lines";
import * as format from "../../format";
import { Copy, Skeleton, Trouble } from "../../parts/basics";
import { Icon } from "../../parts/icon";
import { words } from "../../words";

const text = words.devices.pair;

interface Asks {
  id: string;
  name: string;
  address: string;
}

/** Around the countdown: a circle of this radius. */
const RADIUS = 20;
const ROUND = 2 * Math.PI * RADIUS;

export function Pairing(props: { onDone: () => void }) {
  const [code, setCode] = createSignal<string>();
  const [address, setAddress] = createSignal<string>();
  const [ends, setEnds] = createSignal(0);
  const [lasts, setLasts] = createSignal(180);
  const [left, setLeft] = createSignal(0);
  const [asks, setAsks] = createSignal<Asks>();
  const [joined, setJoined] = createSignal<string>();
  const [error, setError] = createSignal<string>();
  let hangUp = new AbortController();

  const begin = async (): Promise<void> => {
    hangUp.abort();
    hangUp = new AbortController();
    const { signal } = hangUp;
    setCode(undefined);
    setAsks(undefined);
    setError(undefined);
    try {
      const response = await open("/fleet/pair", { yes: false }, signal);
      if (!response.body) throw new Error(text.failed);
      for await (const line of jsonLines(response.body)) {
        if (typeof line["code"] === "string") {
          const seconds = Number(line["expires_in_s"] ?? 180);
          setCode(line["code"]);
          setAddress(typeof line["address"] === "string" ? line["address"] : undefined);
          setLasts(seconds);
          setEnds(performance.now() + seconds * 1000);
          tick();
        } else if (line["asks"]) setAsks(line["asks"] as Asks);
        else if (line["joined"]) setJoined((line["joined"] as { name: string }).name);
        else if (typeof line["error"] === "string") throw new Error(line["error"]);
      }
      if (!joined()) throw new Error(text.failed);
    } catch (why) {
      if (!signal.aborted) setError(why instanceof Error ? why.message : String(why));
    }
  };
  const tick = (): void => void setLeft(Math.max(0, (ends() - performance.now()) / 1000));
  const answer = async (allow: boolean): Promise<void> => {
    const who = asks();
    if (!who) return;
    try {
      await change("/fleet/pair/answer", { id: who.id, allow });
      if (!allow) setAsks(undefined);
    } catch (why) {
      setError(why instanceof Error ? why.message : String(why));
    }
  };
  onMount(() => {
    const timer = setInterval(tick, 250);
    void begin();
    onCleanup(() => {
      clearInterval(timer);
      hangUp.abort();
    });
  });

  return (
    <div class="pairing">
      <Switch fallback={<Skeleton lines={3} />}>
        <Match when={joined()}>
          {(name) => (
            <div class="pairing-done" role="status">
              <span class="done-mark">
                <Icon name="check" size={30} />
              </span>
              <p class="pairing-big">{text.joined(name())}</p>
              <p class="muted">{text.joinedHow}</p>
              <button type="button" class="button primary" onClick={() => props.onDone()}>
                {words.done}
              </button>
            </div>
          )}
        </Match>
        <Match when={error()}>
          {(why) => (
            <>
              <Trouble title={text.failed} text={why()} />
              <div class="dialog-actions">
                <button type="button" class="button primary" onClick={() => void begin()}>
                  {text.again}
                </button>
              </div>
            </>
          )}
        </Match>
        <Match when={asks()}>
          {(who) => (
            <div role="alert">
              <p class="pairing-big">{text.asks(who().name)}</p>
              <p class="muted">{text.asksHow(who().address)}</p>
              <div class="dialog-actions">
                <button type="button" class="button" onClick={() => void answer(false)}>
                  {text.deny}
                </button>
                <button type="button" class="button primary" onClick={() => void answer(true)}>
                  {text.allow}
                </button>
              </div>
            </div>
          )}
        </Match>
        <Match when={code()}>
          {(shown) => (
            <>
              <p>{text.type}</p>
              <p class="pairing-command">
                <code>herd join {format.code(shown())}</code>
                <Copy text={`herd join ${format.code(shown())}`} />
              </p>
              <p class="code" role="img" aria-label={shown().split("").join(" ")}>
                {format.code(shown())
                  .split("-")
                  .map((group) => (
                    <span>{group}</span>
                  ))}
              </p>
              <div class="pairing-wait">
                <svg class="countdown" width="48" height="48" viewBox="0 0 48 48" aria-hidden="true">
                  <circle class="countdown-track" cx="24" cy="24" r={RADIUS} />
                  <circle class="countdown-left" cx="24" cy="24" r={RADIUS} stroke-dasharray={String(ROUND)} stroke-dashoffset={String(ROUND * (1 - Math.min(1, left() / lasts())))} />
                </svg>
                <p role="timer">
                  {text.waiting}
                  <br />
                  <span class="muted numbers">{text.left(format.countdown(left()))}</span>
                </p>
              </div>
              <Show when={address()}>
                {(at) => (
                  <details class="pairing-address">
                    <summary>{text.from}</summary>
                    <code>
                      herd join {format.code(shown())} --addr {at()}
                    </code>
                  </details>
                )}
              </Show>
            </>
          )}
        </Match>
      </Switch>
    </div>
  );
}
