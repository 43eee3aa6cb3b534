// A bar that says how full something is, with the numbers beside it.

import { Index, Show } from "solid-js";
import { fullness, type Tone } from "../health";
import { words } from "../words";

export function Meter(props: { label: string; percent: number | undefined; text?: string | undefined; tone?: Tone }) {
  const known = () => props.percent !== undefined;
  const rounded = () => Math.round(props.percent ?? 0);
  return (
    <div class="meter">
      <span class="meter-label">{props.label}</span>
      <span class="meter-text">
        <Show when={known()} fallback={words.machine.unknown}>
          {props.text ?? `${rounded()} %`}
        </Show>
      </span>
      <div
        class="meter-track"
        role={known() ? "meter" : undefined}
        aria-label={known() ? props.label : undefined}
        aria-valuemin={known() ? 0 : undefined}
        aria-valuemax={known() ? 100 : undefined}
        aria-valuenow={known() ? rounded() : undefined}
        aria-valuetext={known() ? (props.text ?? `${rounded()} %`) : undefined}
      >
        <span class="meter-fill" data-tone={props.tone ?? fullness(props.percent ?? 0)} style={{ transform: `scaleX(${(props.percent ?? 0) / 100})` }} />
      </div>
    </div>
  );
}

/** The places at a model: filled ones are in use. */
export function Slots(props: { used: number; total: number | undefined; waiting: number }) {
  const MOST = 12;
  const total = () => Math.max(props.total ?? 0, props.used);
  const text = () => {
    const parts = [props.total === undefined ? words.machine.inFlight(props.used) : words.machine.slots(props.used, total())];
    if (props.waiting > 0) parts.push(words.machine.queued(props.waiting));
    return parts.join(", ");
  };
  return (
    <span class="slots" role="img" aria-label={text()} title={text()}>
      <Show when={total() <= MOST} fallback={<span class="slots-many">{`${props.used}/${total()}`}</span>}>
        {/* One element per place, so that a place keeps its motion while others change. */}
        <SlotDots used={props.used} total={total()} />
      </Show>
      <Show when={props.waiting > 0}>
        <span class="slots-waiting">+{props.waiting}</span>
      </Show>
    </span>
  );
}

function SlotDots(props: { used: number; total: number }) {
  return (
    <Index each={Array.from({ length: props.total }, (_, place) => place < props.used)}>
      {(used) => <span class="slot" classList={{ used: used() }} />}
    </Index>
  );
}
