// Joins the fleet of the machine that shows a code.

import { createSignal, Show } from "solid-js";
import { Refused, sentence } from "../../client/http";
import { open } from "../../client/http";
import { Trouble } from "../../parts/basics";
import { Icon } from "../../parts/icon";
import { words } from "../../words";

const text = words.devices.joining;

export function JoinForm(props: { onDone: () => void }) {
  const [code, setCode] = createSignal("");
  const [address, setAddress] = createSignal("");
  const [busy, setBusy] = createSignal(false);
  const [error, setError] = createSignal<string>();
  const [joined, setJoined] = createSignal<string>();
  const join = async (): Promise<void> => {
    setBusy(true);
    setError(undefined);
    try {
      // Finding the other machine and being let in by a person takes longer than other changes may.
      const signal = AbortSignal.timeout(240_000);
      const body = { code: code().trim(), ...(address().trim() ? { address: address().trim() } : {}) };
      const answer = (await (await open("/fleet/join", body, signal)).json()) as { fleet?: { name?: string } };
      setJoined(answer.fleet?.name ?? "");
    } catch (why) {
      setError(why instanceof Refused ? why.message : sentence(why instanceof Error ? why.message : String(why)));
    } finally {
      setBusy(false);
    }
  };
  return (
    <Show
      when={joined() === undefined}
      fallback={
        <div class="pairing-done" role="status">
          <span class="done-mark">
            <Icon name="check" size={30} />
          </span>
          <p class="pairing-big">{text.joined(joined() ?? "")}</p>
          <button type="button" class="button primary" onClick={() => props.onDone()}>
            {words.done}
          </button>
        </div>
      }
    >
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void join();
        }}
      >
        <label class="field">
          <span class="field-label">{text.code}</span>
          <input class="code-input" type="text" required maxLength={32} autocomplete="off" autocapitalize="characters" spellcheck={false} placeholder={text.codeHint} value={code()} onInput={(event) => setCode(event.currentTarget.value)} />
        </label>
        <label class="field">
          <span class="field-label">{text.address}</span>
          <input type="text" maxLength={256} autocomplete="off" spellcheck={false} placeholder={text.addressHint} value={address()} onInput={(event) => setAddress(event.currentTarget.value)} />
        </label>
        <Show when={busy()}>
          <p class="muted" role="status">
            {text.busy}
          </p>
        </Show>
        <Show when={error()}>{(why) => <Trouble title={why()} />}</Show>
        <div class="dialog-actions">
          <button type="submit" class="button primary" disabled={busy() || code().replace(/[^0-9a-z]/gi, "").length < 8}>
            {text.button}
          </button>
        </div>
      </form>
    </Show>
  );
}
