// One request: what happened, how long each part took, and why it went where it went.

import { createMemo, createResource, For, Show } from "solid-js";
import { look, Refused } from "../client/http";
import * as format from "../format";
import { outcomeTone } from "../health";
import { Empty, Pill, Skeleton, Trouble } from "../parts/basics";
import { Icon } from "../parts/icon";
import { Link } from "../parts/link";
import { now } from "../state";
import type { Candidate, Why } from "../types";
import { words } from "../words";
import { outcome } from "./requests/row";
import { withoutNulls } from "./requests";
import { appOf, parts, story } from "./requests/story";

const text = words.why;

export function RequestDetail(props: { id: string }) {
  const [why, { refetch }] = createResource(
    () => props.id,
    async (id) => withoutNulls(await look<Why>(`/fleet/traces/${encodeURIComponent(id)}`)),
  );
  const isMissing = () => why.error instanceof Refused && why.error.status === 404;
  return (
    <>
      <p class="crumb">
        <Link to="/requests" class="link">
          <Icon name="back" size={16} />
          {text.back}
        </Link>
      </p>
      <Show when={!why.error} fallback={<Show when={isMissing()} fallback={<Trouble title={words.requests.failed} text={(why.error as Error).message} onRetry={() => void refetch()} />}>
        <Empty icon="search" title={text.missing} how={text.missingHow} />
      </Show>}>
        <Show when={why()} fallback={<Skeleton lines={8} />}>
          {(row) => <Story why={row()} />}
        </Show>
      </Show>
    </>
  );
}

function Story(props: { why: Why }) {
  const why = () => props.why;
  return (
    <article class="why">
      <header class="page-head">
        <div>
          <h1 tabindex="-1">{why().model || why().original_model}</h1>
          <p class="summary why-summary">
            <Pill tone={outcomeTone(why().status)}>{outcome(why().status)}</Pill>
            <span>{why().node_id}</span>
            <time datetime={new Date(why().timestamp * 1000).toISOString()}>{format.clock(why().timestamp, now())}</time>
          </p>
        </div>
      </header>
      <section class="card" aria-labelledby="story">
        <h2 id="story">{text.story}</h2>
        <ol class="story">
          <For each={story(why())}>{(line) => <li data-tone={line.tone}>{line.text}</li>}</For>
        </ol>
        <Timeline why={why()} />
      </section>
      <Show when={why().candidates.length > 0}>
        <Candidates candidates={why().candidates} />
      </Show>
      <Facts why={why()} />
    </article>
  );
}

function Timeline(props: { why: Why }) {
  const spans = createMemo(() => parts(props.why));
  const total = () => spans().reduce((sum, part) => sum + part.ms, 0);
  return (
    <Show when={total() > 0 && props.why.status !== "rejected"}>
      <div class="timeline">
        <div class="timeline-bar" aria-hidden="true">
          <For each={spans()}>{(part) => <span data-part={part.kind} style={{ "flex-grow": String(Math.max(part.ms, total() / 200)) }} />}</For>
        </div>
        <dl class="timeline-key">
          <For each={spans()}>
            {(part) => (
              <div data-part={part.kind}>
                <dt>{part.label}</dt>
                <dd>{format.span(part.ms)}</dd>
              </div>
            )}
          </For>
          <div>
            <dt>{text.total}</dt>
            <dd>{format.span(props.why.latency_ms ?? total())}</dd>
          </div>
        </dl>
      </div>
    </Show>
  );
}

const SIGNALS = ["thermal", "memory_fit", "queue_depth", "wait_time", "role_affinity", "availability_trend", "context_fit"] as const;
const points = (value: number): string => (value > 0 ? `+${round(value)}` : round(value));
const round = (value: number): string => (Number.isInteger(value) ? String(value) : value.toFixed(1)).replace("-", "−");
const sum = (candidate: Candidate): number => SIGNALS.reduce((total, signal) => total + (candidate[signal] ?? 0), 0);
const predicted = (candidate: Candidate): number | undefined => {
  const told = candidate.predicted;
  return told ? told.load_ms + told.queue_ms + told.prefill_ms + told.decode_ms + told.link_ms : undefined;
};

function Candidates(props: { candidates: Candidate[] }) {
  const anyPredicted = () => props.candidates.some((candidate) => candidate.predicted);
  return (
    <section class="card" aria-labelledby="candidates">
      <h2 id="candidates">{text.candidates}</h2>
      <p class="muted">{anyPredicted() ? text.candidatesSoonest : text.candidatesHow}</p>
      <div class="scroll" tabindex="0" role="region" aria-labelledby="candidates">
        <table class="table numbers">
          <thead>
            <tr>
              <th scope="col">{words.requests.columns.machine}</th>
              <Show when={anyPredicted()}>
                <th scope="col">{text.predicted}</th>
              </Show>
              <th scope="col">{text.points.total}</th>
              <th scope="col">{text.inUse}</th>
              <th scope="col">{text.inMemory}</th>
              <For each={SIGNALS}>{(signal) => <th scope="col">{text.points[signal]}</th>}</For>
            </tr>
          </thead>
          <tbody>
            <For each={props.candidates}>
              {(candidate, place) => (
                <tr classList={{ chosen: place() === 0 }}>
                  <th scope="row">
                    {[candidate.node, candidate.backend].filter(Boolean).join(" · ")}
                    <Show when={place() === 0}>
                      <span class="chosen-mark">
                        <Icon name="check" size={14} />
                        {text.chosenMark}
                      </span>
                    </Show>
                  </th>
                  <Show when={anyPredicted()}>
                    <td class="total">{predicted(candidate) === undefined ? words.none : format.span(predicted(candidate) ?? 0)}</td>
                  </Show>
                  <td class="total">{round(sum(candidate))}</td>
                  <td>{`${candidate.in_flight}/${candidate.slots}`}</td>
                  <td>{candidate.loaded ? text.yes : text.no}</td>
                  <For each={SIGNALS}>{(signal) => <td classList={{ zero: !candidate[signal] }}>{points(candidate[signal] ?? 0)}</td>}</For>
                </tr>
              )}
            </For>
          </tbody>
        </table>
      </div>
    </section>
  );
}

function Facts(props: { why: Why }) {
  const rows = createMemo(() => {
    const why = props.why;
    const fact = text.fact;
    const all: [string, string | number | undefined][] = [
      [fact.id, why.request_id],
      [fact.path, why.path],
      [fact.http, why.http_status],
      [fact.app, appOf(why)],
      [fact.client, why.client_ip],
      [fact.key, why.client_key],
      [fact.model, why.original_model],
      [fact.served, why.model !== why.original_model ? why.model : undefined],
      [fact.machine, why.node_id],
      [fact.backend, why.backend],
      [fact.prompt, why.prompt_tokens === undefined ? undefined : format.count(why.prompt_tokens)],
      [fact.answer, why.completion_tokens === undefined ? undefined : format.count(why.completion_tokens)],
      [fact.estimated, why.estimated_tokens === undefined ? undefined : format.count(why.estimated_tokens)],
      [fact.finish, why.finish_reason],
      [fact.context, why.context === undefined ? undefined : format.count(why.context)],
      [fact.retries, why.retry_count || undefined],
      [fact.session, why.session],
      [fact.tags, why.tags.join(", ")],
      [fact.size, why.request_bytes === undefined ? undefined : `${format.bytes(why.request_bytes)}, ${format.bytes(why.response_bytes ?? 0)}`],
    ];
    return all.filter(([, value]) => value !== undefined && value !== "");
  });
  return (
    <section class="card" aria-labelledby="facts">
      <h2 id="facts">{text.facts}</h2>
      <dl class="facts">
        <For each={rows()}>
          {([name, value]) => (
            <div>
              <dt>{name}</dt>
              <dd>{value}</dd>
            </div>
          )}
        </For>
      </dl>
    </section>
  );
}

