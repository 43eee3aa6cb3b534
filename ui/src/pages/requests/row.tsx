// One request as a row: how it ended, what was asked, who answered, and how fast.

import { Show } from "solid-js";
import * as format from "../../format";
import { outcomeTone } from "../../health";
import { Pill } from "../../parts/basics";
import { Link } from "../../parts/link";
import { now } from "../../state";
import type { Trace } from "../../types";
import { words } from "../../words";
import { appOf } from "./story";

const text = words.requests;

export const outcome = (status: string): string => text.outcomes[status] ?? status;

export function TraceRow(props: { trace: Trace }) {
  const trace = () => props.trace;
  const speed = () => format.rate(trace().completion_tokens, trace().latency_ms, trace().time_to_first_token_ms);
  const asked = () => (trace().original_model && trace().original_model !== trace().model ? `${trace().original_model} → ${trace().model}` : trace().model);
  return (
    <li class="trace">
      <Link to={`/requests/${trace().request_id}`} class="trace-link">
        <span class="trace-status">
          <Pill tone={outcomeTone(trace().status)}>{outcome(trace().status)}</Pill>
        </span>
        <span class="trace-model" title={asked()}>
          {asked() || words.none}
        </span>
        <span class="trace-who">
          <span class="trace-machine">{trace().node_id || words.none}</span>
          <span class="trace-app" title={appOf(trace())}>
            {appOf(trace()) ?? text.unknownApp}
          </span>
        </span>
        <span class="trace-numbers">
          <Show when={trace().completion_tokens !== undefined}>
            <span title={text.columns.tokens}>{text.tokens(format.count(trace().prompt_tokens ?? 0), format.count(trace().completion_tokens ?? 0))}</span>
          </Show>
          <Show when={speed()}>{(value) => <span>{text.speed(format.perSecond(value()))}</span>}</Show>
        </span>
        <span class="trace-total">{trace().latency_ms === undefined ? words.none : format.span(trace().latency_ms ?? 0)}</span>
        <time class="trace-time" datetime={new Date(trace().timestamp * 1000).toISOString()}>
          {format.clock(trace().timestamp, now())}
        </time>
      </Link>
    </li>
  );
}
