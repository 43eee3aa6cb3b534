// What needs a look, with what to do about it.

import { For, Show } from "solid-js";
import { Icon } from "../../parts/icon";
import { known } from "../../state";
import { words } from "../../words";
import { sentence } from "../../client/http";

export function Attention() {
  const checks = () => known.doctor ?? [];
  const worst = () => (checks().some((check) => check.state === "problem") ? "bad" : "pause");
  return (
    <Show when={checks().length > 0}>
      <details class="attention" data-tone={worst()} open={worst() === "bad"}>
        <summary>
          <Icon name={worst() === "bad" ? "problem" : "warning"} />
          <span>{words.overview.attention(checks().length)}</span>
        </summary>
        <ul>
          <For each={checks()}>
            {(check) => (
              <li data-tone={check.state === "problem" ? "bad" : "pause"}>
                <p>
                  <strong>{check.check}</strong> {sentence(check.found)}
                </p>
                <Show when={check.advice}>{(advice) => <p class="muted">{sentence(advice())}</p>}</Show>
              </li>
            )}
          </For>
        </ul>
      </details>
    </Show>
  );
}
