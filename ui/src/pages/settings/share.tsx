// Whether this machine shares its compute: what it does now and why, and the owner's wish. Shown where Herd can tell.

import { createEffect, createResource, createSignal, For, on, Show } from "solid-js";
import { change, look, Refused, signedIn } from "../../client/http";
import * as format from "../../format";
import { shareState, toneOf } from "../../health";
import { Pill, SignInHint, Trouble } from "../../parts/basics";
import { Icon } from "../../parts/icon";
import { Switch } from "../../parts/switch";
import { known } from "../../state";
import type { Holder, Sharing } from "../../types";
import { words } from "../../words";
import { withoutNulls } from "../requests";

const text = words.sharing;

const capital = (said: string): string => said.charAt(0).toUpperCase() + said.slice(1);

const holders = (now: Sharing): (Holder & { camera: boolean })[] => [
  ...(now.evidence?.cameras ?? []).map((holder) => ({ ...holder, camera: true })),
  ...(now.evidence?.microphones ?? []).map((holder) => ({ ...holder, camera: false })),
];

const time = (moment: string): string => new Date(moment).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });

export function SharePanel() {
  const [sharing, { mutate, refetch }] = createResource(async () => {
    try {
      return withoutNulls(await look<Sharing>("/fleet/share"));
    } catch (error) {
      // A Herd that cannot tell has nothing to show here.
      if (error instanceof Refused && error.status === 404) return undefined;
      throw error;
    }
  });
  const [error, setError] = createSignal<string>();
  createEffect(on(() => [known.share?.state, known.share?.reason], () => void refetch(), { defer: true }));
  const tell = async (wish: Record<string, unknown>): Promise<void> => {
    setError(undefined);
    try {
      const now = await change<Sharing>("/fleet/share", wish);
      if (now.rules) mutate(withoutNulls(now));
      else await refetch();
    } catch (why) {
      setError(why instanceof Error ? why.message : String(why));
    }
  };
  const state = () => shareState(sharing.latest);
  return (
    <Show when={!sharing.error && sharing.latest}>
      {(now) => (
        <section class="card share" aria-labelledby="share">
          <div class="share-head">
            <div>
              <h2 id="share">{text.title}</h2>
              <p class="share-now">
                <Pill tone={toneOf(state())}>{words.states[state()]}</Pill>
                <span>
                  {now().reason}
                  <Show when={now().until}>{(until) => ` (${text.until(time(until()))})`}</Show>
                </span>
              </p>
            </div>
            <Switch label={text.on} checked={now().state !== "off"} disabled={!signedIn()} onChange={(on) => void tell({ state: on ? "on" : "off" })} />
          </div>
          <SignInHint />
          <Show when={error()}>{(why) => <Trouble title={why()} />}</Show>
          <div class="share-actions">
            <Show
              when={now().state === "on"}
              fallback={
                <>
                  <button type="button" class="button" disabled={!signedIn()} onClick={() => void tell({ state: "on" })}>
                    {text.resume}
                  </button>
                  <Show when={now().rule}>
                    <button type="button" class="button" disabled={!signedIn()} onClick={() => void tell({ override_s: 3600 })}>
                      {text.override}
                    </button>
                  </Show>
                </>
              }
            >
              <For
                each={[
                  [text.pause30, { state: "pause", for_s: 1800 }],
                  [text.pause60, { state: "pause", for_s: 3600 }],
                  [text.pauseTomorrow, { state: "pause", until: "tomorrow" }],
                  [text.finish, { state: "finish" }],
                ] as [string, Record<string, unknown>][]}
              >
                {([label, wish]) => (
                  <button type="button" class="button" disabled={!signedIn()} onClick={() => void tell(wish)}>
                    {label}
                  </button>
                )}
              </For>
            </Show>
          </div>
          <Show when={holders(now()).length > 0 || (now().ignored ?? []).length > 0}>
            <ul class="holders">
              <For each={holders(now())}>
                {(holder) => (
                  <li>
                    <span>{text.held(holder.app, holder.camera, format.about(holder.for_s))}</span>
                    <Show when={holder.standing === "counts" || holder.standing === "settling"}>
                      <button type="button" class="button small" disabled={!signedIn()} onClick={() => void tell({ ignore_app: holder.app })}>
                        {text.ignore(holder.app)}
                      </button>
                    </Show>
                  </li>
                )}
              </For>
              <Show when={(now().ignored ?? []).length > 0}>
                <li>
                  <span>{text.ignored}</span>
                  <For each={now().ignored}>
                    {(app) => (
                      <button type="button" class="button small" disabled={!signedIn()} aria-label={text.heed(app)} onClick={() => void tell({ heed_app: app })}>
                        {app}
                        <Icon name="cross" size={14} />
                      </button>
                    )}
                  </For>
                </li>
              </Show>
            </ul>
          </Show>
          <Show when={(now().rules ?? []).length > 0}>
            <fieldset class="rules" disabled={!signedIn()}>
              <legend>{text.rules}</legend>
              <p class="muted">{text.rulesHow}</p>
              <For each={now().rules ?? []}>
                {(rule) => (
                  <Switch
                    label={capital(text.ruleNames[rule.id] ?? rule.about)}
                    title={[rule.about, ...(rule.settings ?? []).map(({ name, value }) => `${name}=${value}`)].join("\n")}
                    more={rule.known === false ? text.ruleBlind : rule.phase === "active" ? text.ruleActive : undefined}
                    checked={rule.enabled}
                    disabled={!signedIn()}
                    onChange={(enabled) => void tell({ rule: rule.id, enabled })}
                  />
                )}
              </For>
            </fieldset>
          </Show>
        </section>
      )}
    </Show>
  );
}
