// The machines that belong to the fleet: who joined when, and how one comes in, is renamed, or goes.

import { createEffect, createMemo, createSignal, For, Show } from "solid-js";
import { change, signedIn } from "../client/http";
import { Badge, Empty, PageHead, Pill, SignInHint, Skeleton, Trouble } from "../parts/basics";
import { Dialog } from "../parts/dialog";
import { Icon } from "../parts/icon";
import { arrived, known } from "../state";
import type { Device } from "../types";
import type { Tone } from "../health";
import { words } from "../words";
import { JoinForm } from "./devices/join";
import { Pairing } from "./devices/pair";

const text = words.devices;

type Open = { what: "pair" } | { what: "join" } | { what: "leave" } | { what: "rename"; device: Device } | { what: "remove"; device: Device };

const tone = (device: Device): Tone => (device.self || device.presence === "here" ? "good" : device.presence === "elsewhere" ? "pause" : device.presence === "gone" ? "bad" : "quiet");

export function Devices() {
  const [open, setOpen] = createSignal<Open>();
  const close = () => setOpen(undefined);
  // The tray's "Add a device…" leads here; a code is shown as soon as this page may, and once.
  createEffect(() => {
    if (signedIn() && new URLSearchParams(location.search).has("add")) {
      history.replaceState(history.state, "", location.pathname);
      setOpen({ what: "pair" });
    }
  });
  const devices = createMemo(() => [...(known.devices ?? [])].sort((a, b) => a.seniority - b.seniority));
  const isAlone = () => devices().length <= 1;
  return (
    <>
      <PageHead title={text.title} summary={text.summary}>
        <Show when={isAlone()}>
          <button type="button" class="button" disabled={!signedIn()} onClick={() => setOpen({ what: "join" })}>
            {text.join}
          </button>
        </Show>
        <button type="button" class="button primary" disabled={!signedIn()} onClick={() => setOpen({ what: "pair" })}>
          <Icon name="plus" size={17} />
          {text.add}
        </button>
      </PageHead>
      <SignInHint />
      <Show when={arrived()} fallback={<Skeleton lines={5} />}>
        <ul class="devices">
          <For each={devices()}>
            {(device) => (
              <li class="device">
                <span class="device-place" aria-hidden="true">
                  {device.seniority}
                </span>
                <div class="device-name">
                  <h2>{device.name}</h2>
                  <p class="muted">
                    <span class="device-id" title={device.id}>
                      {device.id.slice(0, 8)}
                    </span>
                    {` · ${text.roles[device.role] ?? device.role} · ${text.seniority(device.seniority)}`}
                  </p>
                </div>
                <p class="badges">
                  <Show when={device.self}>
                    <Badge tone="self">{text.self}</Badge>
                  </Show>
                  <Show when={known.leader?.node_id === device.id}>
                    <Badge tone="leader" icon="crown">
                      {words.machine.leads}
                    </Badge>
                  </Show>
                </p>
                <Pill tone={tone(device)}>{device.self ? words.presence.here : (words.presence[device.presence as "here"] ?? device.presence)}</Pill>
                <div class="device-actions">
                  <button type="button" class="button quiet small" disabled={!signedIn()} aria-label={text.renameOf(device.name)} onClick={() => setOpen({ what: "rename", device })}>
                    <Icon name="edit" size={16} />
                    <span>{text.rename}</span>
                  </button>
                  <Show when={!device.self}>
                    <button type="button" class="button quiet small danger" disabled={!signedIn()} aria-label={`${text.remove}: ${device.name}`} onClick={() => setOpen({ what: "remove", device })}>
                      <Icon name="cross" size={16} />
                      <span>{text.remove}</span>
                    </button>
                  </Show>
                </div>
              </li>
            )}
          </For>
        </ul>
        <Show when={isAlone()}>
          <Empty icon="devices" title={text.alone} how={text.aloneHow} />
        </Show>
        <Show when={!isAlone()}>
          <p class="more">
            <button type="button" class="button quiet danger" disabled={!signedIn()} onClick={() => setOpen({ what: "leave" })}>
              {text.leave}
            </button>
          </p>
        </Show>
      </Show>
      <Show when={open()} keyed>
        {(now) => {
          switch (now.what) {
            case "pair":
              return (
                <Dialog title={text.pair.title} onClose={close}>
                  <Pairing onDone={close} />
                </Dialog>
              );
            case "join":
              return (
                <Dialog title={text.joining.title} onClose={close}>
                  <JoinForm onDone={close} />
                </Dialog>
              );
            case "rename":
              return <Rename device={now.device} onClose={close} />;
            case "remove":
              return <Sure title={text.removeOf(now.device.name)} how={text.removeHow} button={text.remove} path="/fleet/remove" body={{ device: now.device.id }} onClose={close} />;
            case "leave":
              return <Sure title={text.leaveSure} how={text.leaveHow} button={text.leave} path="/fleet/leave" body={{}} onClose={close} />;
          }
        }}
      </Show>
    </>
  );
}

/** Has one thing changed, and says if that did not work. */
function changing(onDone: () => void) {
  const [busy, setBusy] = createSignal(false);
  const [error, setError] = createSignal<string>();
  const run = async (path: string, body: unknown): Promise<void> => {
    setBusy(true);
    setError(undefined);
    try {
      await change(path, body);
      onDone();
    } catch (why) {
      setError(why instanceof Error ? why.message : String(why));
    } finally {
      setBusy(false);
    }
  };
  return { busy, error, run };
}

function Rename(props: { device: Device; onClose: () => void }) {
  const [name, setName] = createSignal(props.device.name);
  const { busy, error, run } = changing(() => props.onClose());
  return (
    <Dialog title={text.renameOf(props.device.name)} onClose={() => props.onClose()}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void run("/fleet/rename", { device: props.device.id, name: name().trim() });
        }}
      >
        <label class="field">
          <span class="field-label">{text.newName}</span>
          <input type="text" maxLength={64} required autofocus value={name()} onInput={(event) => setName(event.currentTarget.value)} />
        </label>
        <Show when={error()}>{(why) => <Trouble title={why()} />}</Show>
        <div class="dialog-actions">
          <button type="button" class="button" onClick={() => props.onClose()}>
            {words.cancel}
          </button>
          <button type="submit" class="button primary" disabled={busy() || name().trim() === ""}>
            {words.save}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function Sure(props: { title: string; how: string; button: string; path: string; body: unknown; onClose: () => void }) {
  const { busy, error, run } = changing(() => props.onClose());
  return (
    <Dialog title={props.title} onClose={() => props.onClose()}>
      <p>{props.how}</p>
      <Show when={error()}>{(why) => <Trouble title={why()} />}</Show>
      <div class="dialog-actions">
        <button type="button" class="button" onClick={() => props.onClose()}>
          {words.cancel}
        </button>
        <button type="button" class="button danger-solid" disabled={busy()} onClick={() => void run(props.path, props.body)}>
          {props.button}
        </button>
      </div>
    </Dialog>
  );
}
