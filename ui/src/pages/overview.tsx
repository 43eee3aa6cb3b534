// The fleet at a glance: what runs now, each machine, what needs a look, and the last requests.

import { createMemo, createResource, For, onCleanup, Show } from "solid-js";
import { look } from "../client/http";
import * as format from "../format";
import { inOrder } from "../health";
import { Copy, PageHead, Skeleton } from "../parts/basics";
import { Chart } from "../parts/chart";
import { Icon } from "../parts/icon";
import { Link } from "../parts/link";
import { arrived, atWork, known, pulse, PULSE_S } from "../state";
import type { Hour } from "../types";
import { words } from "../words";
import { MachineCard } from "./overview/machine";
import { Attention } from "./overview/attention";
import { LastRequests } from "./overview/last";

const text = words.overview;

export function Overview() {
  const nodes = createMemo(() => inOrder(known.nodes ?? []));
  const alone = () => nodes().length <= 1;
  const title = () => (alone() ? (known.self?.name ?? words.overview.title) : (known.fleet?.name ?? words.overview.title));
  return (
    <Show when={arrived()} fallback={<Skeleton lines={8} />}>
      <PageHead title={title()} summary={text.summary(nodes().length, known.self?.models ?? 0, atWork().running, atWork().waiting)}>
        <Show when={alone()}>
          <Link to="/welcome" class="button">
            {text.set}
          </Link>
        </Show>
        <Link to="/devices" class="button primary">
          <Icon name="plus" size={17} />
          {text.add}
        </Link>
      </PageHead>
      <Attention />
      <Figures />
      <section aria-labelledby="machines">
        <h2 id="machines">{text.machines}</h2>
        <ul class="machines" classList={{ single: alone() }}>
          <For each={nodes()}>{(node) => <MachineCard node={node} />}</For>
        </ul>
      </section>
      <LastRequests />
      <UseIt />
    </Show>
  );
}

function Figures() {
  const [hours, { refetch }] = createResource(async () => {
    const { data } = await look<{ data: Hour[] }>("/dashboard/api/trends?hours=24");
    return data;
  });
  const timer = setInterval(() => void refetch(), 60_000);
  onCleanup(() => clearInterval(timer));
  const live = createMemo<[number[], number[], (number | null)[]]>(() => {
    const points = pulse();
    // Nothing waiting is no line at the bottom, but none at all.
    return [points.map((point) => point.at), points.map((point) => point.running), points.map((point) => point.waiting || null)];
  });
  const day = createMemo<[number[], number[]]>(() => byHour(hours.latest ?? [], Date.now()));
  const loaded = () => new Set((known.lanes ?? []).filter((lane) => lane.loaded).map((lane) => lane.name)).size;
  return (
    <section class="figures" aria-label={text.now}>
      <div class="figure wide">
        <div class="figure-head">
          <p class="figure-label">{text.running}</p>
          <p class="figure-value" data-tone={atWork().running > 0 ? "busy" : undefined}>
            {atWork().running}
            <Show when={atWork().waiting > 0}>
              <span class="figure-more">
                {atWork().waiting} {text.waiting.toLowerCase()}
              </span>
            </Show>
          </p>
        </div>
        <Chart label={text.chart} height={82} least={2} span={PULSE_S} series={[text.running, text.waiting]} data={live()} />
      </div>
      <div class="figure wide">
        <div class="figure-head">
          <p class="figure-label">{text.answered}</p>
          <p class="figure-value">
            {format.compact(known.totals?.requests_24h ?? 0)}
            <span class="figure-more">{text.requests(known.totals?.requests_24h ?? 0)}</span>
          </p>
        </div>
        <Chart label={text.day} height={82} least={4} bars times series={[text.day]} data={day()} />
      </div>
      <div class="figure">
        <p class="figure-label">{text.ready}</p>
        <p class="figure-value">
          {loaded()}
          <span class="figure-more">{text.ofModels(known.self?.models ?? 0)}</span>
        </p>
        <p class="figure-label second">{text.firstToken}</p>
        <p class="figure-value">
          <Show when={known.totals?.avg_ttft_ms} fallback={words.none}>
            {(ms) => <>{format.span(ms())}</>}
          </Show>
        </p>
      </div>
    </section>
  );
}

/** Requests of each of the last 24 hours, those without any as well. */
export function byHour(rows: Hour[], nowMs: number): [number[], number[]] {
  const last = Math.floor(nowMs / 3_600_000) * 3600;
  const counts = new Map<number, number>();
  for (const row of rows) {
    const bucket = row.hour_bucket;
    const at = typeof bucket === "number" ? bucket : Date.parse(/[zZ]|[+-]\d\d:?\d\d$/.test(bucket) ? bucket : `${bucket.replace(" ", "T")}Z`) / 1000;
    if (Number.isFinite(at)) counts.set(Math.floor(at / 3600) * 3600, row.request_count);
  }
  const times = Array.from({ length: 24 }, (_, hour) => last - (23 - hour) * 3600);
  return [times, times.map((time) => counts.get(time) ?? 0)];
}

function UseIt() {
  const base = () => `http://localhost:${location.port || "11435"}`;
  return (
    <section class="use" aria-labelledby="use">
      <div>
        <h2 id="use">{text.use}</h2>
        <p class="muted">{text.useHow}</p>
      </div>
      <dl class="use-list">
        <For each={[["Ollama", base()], ["OpenAI", `${base()}/v1`], ["Anthropic", base()]]}>
          {([name, address]) => (
            <div>
              <dt>{name}</dt>
              <dd>
                <code>{address}</code>
                <Copy text={address ?? ""} />
              </dd>
            </div>
          )}
        </For>
      </dl>
    </section>
  );
}

