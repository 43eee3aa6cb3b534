// A switch: a check box that looks like one.

import { Show } from "solid-js";

export function Switch(props: { label: string; more?: string | undefined; title?: string; checked: boolean; disabled?: boolean; onChange: (on: boolean) => void }) {
  return (
    <label class="switch" title={props.title}>
      <input
        type="checkbox"
        role="switch"
        checked={props.checked}
        disabled={props.disabled}
        onChange={(event) => {
          const wanted = event.currentTarget.checked;
          // What is shown is what is, not what is wished: it changes when the machine has.
          event.currentTarget.checked = props.checked;
          props.onChange(wanted);
        }}
      />
      <span class="switch-track" aria-hidden="true" />
      <span>
        {props.label}
        <Show when={props.more}>
          <span class="muted"> {props.more}</span>
        </Show>
      </span>
    </label>
  );
}
