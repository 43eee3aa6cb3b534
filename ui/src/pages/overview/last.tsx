// The last requests, as they end.

import { For, Show } from "solid-js";
import { Empty } from "../../parts/basics";
import { Link } from "../../parts/link";
import { known } from "../../state";
import { words } from "../../words";
import { TraceRow } from "../requests/row";

const text = words.overview;
const SHOWN = 8;

export function LastRequests() {
  const traces = () => (known.traces ?? []).slice(0, SHOWN);
  return (
    <section aria-labelledby="last">
      <div class="section-head">
        <h2 id="last">{text.last}</h2>
        <Show when={traces().length > 0}>
          <Link to="/requests" class="link">
            {text.all}
          </Link>
        </Show>
      </div>
      <Show
        when={traces().length > 0}
        fallback={
          <Empty icon="requests" title={text.noRequests} how={text.noRequestsHow}>
            <Link to="/playground" class="button">
              {words.nav.playground}
            </Link>
          </Empty>
        }
      >
        <ol class="trace-list">
          <For each={traces()}>{(trace) => <TraceRow trace={trace} />}</For>
        </ol>
      </Show>
    </section>
  );
}
