// Every setting in force: its variable, value, default, where it comes from, and what it does; and whether this machine shares.

import { createMemo, createResource, createSignal, For, Show } from "solid-js";
import { look, sentence } from "../client/http";
import { Badge, Empty, PageHead, Skeleton, Trouble } from "../parts/basics";
import { Icon } from "../parts/icon";
import { known } from "../state";
import type { Setting } from "../types";
import { words } from "../words";
import { withoutNulls } from "./requests";
import { SharePanel } from "./settings/share";

const text = words.settings;

export type Group = keyof typeof text.groups;

/** The group of a setting, by its name. */
export function groupOf(name: string): Group {
  if (/^FLEET_(PAUSE|SHARE|MEETING|CAPACITY|KEEP_AWAKE)/.test(name)) return "sharing";
  if (/^FLEET_(HOST|PORT|LAN|CONTAINERS|RESPONSES)/.test(name)) return "door";
  if (/^FLEET_(MESH|MDNS|PEERS|NODE_ROUTER|NEVER_LEAD|NOTIFY)|^--never-lead$/.test(name)) return "fleet";
  if (/^FLEET_(BACKENDS|NODE_OLLAMA|LOCAL_DISCOVERY|CLOUD_MODELS|ANTHROPIC|WHISPER|NODE_LLAMA)/.test(name)) return "servers";
  if (/^FLEET_(QUEUE|MAX_RETRIES|CONTEXT|SCORING)/.test(name)) return "requests";
  if (/^FLEET_(NODE_ID|DATA_DIR|LOG|HISTORY)/.test(name)) return "machine";
  return "other";
}

const ORDER = Object.keys(text.groups) as Group[];

export function Settings() {
  const [settings, { refetch }] = createResource(async () => (await look<Setting[]>("/fleet/config")).map(withoutNulls));
  const [search, setSearch] = createSignal("");
  const groups = createMemo(() => {
    const word = search().trim().toLowerCase();
    const rows = (settings.state === "errored" ? [] : (settings() ?? [])).filter((row) => [row.name, row.value, row.about].some((field) => field.toLowerCase().includes(word)));
    return ORDER.map((group) => ({ group, rows: rows.filter((row) => groupOf(row.name) === group) })).filter(({ rows }) => rows.length > 0);
  });
  return (
    <>
      <PageHead title={text.title} summary={text.summary} />
      <SharePanel />
      <Show when={!settings.error} fallback={<Trouble title={text.failed} text={(settings.error as Error).message} onRetry={() => void refetch()} />}>
        <Show when={settings()} fallback={<Skeleton lines={10} />}>
          <div class="filter">
            <label class="field grow">
              <span class="visually-hidden">{text.search}</span>
              <span class="input-with-icon">
                <Icon name="search" size={17} />
                <input type="search" placeholder={text.search} value={search()} onInput={(event) => setSearch(event.currentTarget.value)} />
              </span>
            </label>
          </div>
          <For each={groups()} fallback={<Empty icon="search" title={text.none} />}>
            {({ group, rows }) => (
              <section class="card settings-group" aria-labelledby={`group-${group}`}>
                <h2 id={`group-${group}`}>{text.groups[group]}</h2>
                <dl>
                  <For each={rows}>{(row) => <Row setting={row} />}</For>
                </dl>
              </section>
            )}
          </For>
          <p class="muted settings-how">
            {text.change[0]}
            <code>{text.change[1]}</code>
            {text.change[2]}
            <code>{known.self?.data_dir ?? "~/.fleet-manager"}</code>
            {text.changeEnd}
          </p>
        </Show>
      </Show>
    </>
  );
}

function Row(props: { setting: Setting }) {
  const row = () => props.setting;
  const isDefault = () => row().source === "default";
  return (
    <div class="setting" classList={{ changed: !isDefault() }}>
      <dt>
        <code class="setting-name">{row().name}</code>
        <span class="setting-about">{sentence(row().about)}</span>
      </dt>
      <dd>
        <span class="setting-value">{row().value === "" ? <em>{text.empty}</em> : row().value}</span>
        <span class="setting-source">
          <Show when={!isDefault()} fallback={<span class="muted">{text.isDefault}</span>}>
            <Badge tone="self">{text.source[row().source] ?? row().source}</Badge>
            <Show when={row().default !== undefined}>
              <span class="muted">
                {text.default}: {row().default === "" ? text.empty : row().default}
              </span>
            </Show>
          </Show>
        </span>
      </dd>
    </div>
  );
}
