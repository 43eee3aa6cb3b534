// All requests on record, newest first, with a filter; new ones come in by themselves.

import { createEffect, createMemo, createResource, createSignal, For, Show } from "solid-js";
import { look } from "../client/http";
import { Empty, PageHead, Skeleton, Trouble } from "../parts/basics";
import { Icon } from "../parts/icon";
import { Link } from "../parts/link";
import { known } from "../state";
import type { Trace } from "../types";
import { words } from "../words";
import { appOf } from "./requests/story";
import { outcome, TraceRow } from "./requests/row";

const text = words.requests;
const FIRST = 200;
const MOST = 1000;

export interface Filter {
  search: string;
  status: string;
  node: string;
}

/** Whether a request is one of those that are looked for. */
export function matches(trace: Trace, filter: Filter): boolean {
  if (filter.status && trace.status !== filter.status) return false;
  if (filter.node && trace.node_id !== filter.node) return false;
  const looked = [trace.model, trace.original_model, appOf(trace) ?? "", trace.node_id, trace.backend ?? "", trace.request_id, trace.client_ip, trace.error_message ?? "", ...trace.tags];
  return filter.search
    .toLowerCase()
    .split(/\s+/)
    .every((word) => looked.some((field) => field.toLowerCase().includes(word)));
}

/** Both lists as one, newest first, each request once. */
export function together(newer: readonly Trace[], older: readonly Trace[]): Trace[] {
  const seen = new Map<string, Trace>();
  for (const trace of [...older, ...newer]) seen.set(trace.request_id, trace);
  return [...seen.values()].sort((a, b) => b.timestamp - a.timestamp || b.request_id.localeCompare(a.request_id));
}

const [filter, setFilter] = createSignal<Filter>({ search: "", status: "", node: "" });

export function Requests() {
  const [limit, setLimit] = createSignal(FIRST);
  const [stored, { refetch }] = createResource(limit, async (most) => (await look<{ traces: Trace[] }>(`/dashboard/api/traces?limit=${most}`)).traces.map(withoutNulls));
  // What came since, so that nothing is missed between two readings.
  const [since, setSince] = createSignal<Trace[]>([]);
  createEffect(() => {
    const news = [...(known.traces ?? [])];
    setSince((before) => together(news, before).slice(0, MOST));
  });
  const all = createMemo(() => together(since(), stored.state === "errored" ? [] : (stored.latest ?? [])));
  const shown = createMemo(() => all().filter((trace) => matches(trace, filter())));
  const nodes = createMemo(() => [...new Set(all().map((trace) => trace.node_id).filter(Boolean))].sort());
  const statuses = createMemo(() => [...new Set(all().map((trace) => trace.status))].sort());
  const set = (change: Partial<Filter>) => setFilter((before) => ({ ...before, ...change }));
  const isFiltered = () => filter().search !== "" || filter().status !== "" || filter().node !== "";
  return (
    <>
      <PageHead title={text.title} summary={text.summary} />
      <Show when={stored.error}>
        <Trouble title={text.failed} text={String((stored.error as Error).message)} onRetry={() => void refetch()} />
      </Show>
      <Show when={all().length > 0 || isFiltered()}>
        <form class="filter" role="search" onSubmit={(event) => event.preventDefault()}>
          <label class="field grow">
            <span class="field-label">{text.search}</span>
            <span class="input-with-icon">
              <Icon name="search" size={17} />
              <input type="search" placeholder={text.searchHint} value={filter().search} onInput={(event) => set({ search: event.currentTarget.value })} />
            </span>
          </label>
          <label class="field">
            <span class="field-label">{text.status}</span>
            <select value={filter().status} onChange={(event) => set({ status: event.currentTarget.value })}>
              <option value="">{text.anyStatus}</option>
              <For each={statuses()}>{(status) => <option value={status}>{outcome(status)}</option>}</For>
            </select>
          </label>
          <label class="field">
            <span class="field-label">{text.node}</span>
            <select value={filter().node} onChange={(event) => set({ node: event.currentTarget.value })}>
              <option value="">{text.anyNode}</option>
              <For each={nodes()}>{(node) => <option value={node}>{node}</option>}</For>
            </select>
          </label>
        </form>
        <p class="muted count" role="status">
          {text.shown(shown().length, all().length)}
        </p>
      </Show>
      <Show when={!stored.loading || all().length > 0} fallback={<Skeleton lines={8} />}>
        <Show
          when={shown().length > 0}
          fallback={
            <Show
              when={isFiltered()}
              fallback={
                <Empty icon="requests" title={text.none} how={text.noneHow}>
                  <Link to="/playground" class="button">
                    {words.nav.playground}
                  </Link>
                </Empty>
              }
            >
              <Empty icon="search" title={text.noMatch} how={text.noMatchHow}>
                <button type="button" class="button" onClick={() => setFilter({ search: "", status: "", node: "" })}>
                  {text.clear}
                </button>
              </Empty>
            </Show>
          }
        >
          <ol class="trace-list">
            <For each={shown()}>{(trace) => <TraceRow trace={trace} />}</For>
          </ol>
          <Show when={(stored.latest?.length ?? 0) >= limit() && limit() < MOST}>
            <p class="more">
              <button type="button" class="button" onClick={() => setLimit(MOST)}>
                {text.more}
              </button>
            </p>
          </Show>
        </Show>
      </Show>
    </>
  );
}

/** As the feed tells it: what is not known is absent. */
export function withoutNulls<T extends object>(row: T): T {
  return Object.fromEntries(Object.entries(row).filter(([, value]) => value !== null)) as T;
}
