// One machine: how it is, how full it is, which models it has ready, and what they do at this moment.

import { For, Show } from "solid-js";
import { sentence } from "../../client/http";
import * as format from "../../format";
import { stateOf, toneOf } from "../../health";
import { Badge, Pill } from "../../parts/basics";
import { Meter, Slots } from "../../parts/meter";
import { known } from "../../state";
import type { Gpu, Lane, Machine, Node } from "../../types";
import { words } from "../../words";

const text = words.machine;

export function MachineCard(props: { node: Node }) {
  const state = () => stateOf(props.node);
  const isAway = () => ["gone", "left"].includes(state());
  const machine = () => props.node.machine;
  const lanes = () => (known.lanes ?? []).filter((lane) => lane.node === props.node.name);
  return (
    <li class="machine" data-state={state()} classList={{ away: isAway() }}>
      <div class="machine-stream" classList={{ flows: (props.node.in_flight ?? 0) > 0 && !isAway() }} aria-hidden="true" />
      <header class="machine-head">
        <div class="machine-name">
          <h3>{props.node.name}</h3>
          <p class="machine-kind">{kind(machine()) || " "}</p>
        </div>
        <Pill tone={toneOf(state())} live={state() === "busy"}>
          {words.states[state()]}
        </Pill>
      </header>
      <p class="machine-reason">{reason(props.node)}</p>
      <p class="badges">
        <Show when={props.node.self}>
          <Badge tone="self">{text.self}</Badge>
        </Show>
        <Show when={props.node.leads}>
          <Badge tone="leader" icon="crown" title={text.leadsHow}>
            {text.leads}
          </Badge>
        </Show>
        <Show when={machine()?.on_battery}>
          <Badge icon="battery">{text.battery(machine()?.battery_percent)}</Badge>
        </Show>
        <Show when={machine()?.throttled}>
          <Badge icon="heat">{text.throttled}</Badge>
        </Show>
      </p>
      <Show when={!isAway()}>
        <div class="meters">
          <Meter label={text.cpu} percent={machine()?.cpu_percent} tone="busy" />
          <Meter label={text.memory} percent={format.percent(usedMemory(machine()), machine()?.memory_total)} text={memoryText(machine())} />
          <For each={(machine()?.gpus ?? []).filter((gpu) => !gpu.unified)}>
            {(gpu) => <Meter label={gpu.name ?? text.vram} percent={gpuPercent(gpu)} text={gpuText(gpu)} />}
          </For>
        </div>
        <div class="lanes">
          <Show when={lanes().length > 0} fallback={<p class="lanes-none">{text.nothingLoaded}</p>}>
            <ul>
              <For each={lanes()}>{(lane) => <LaneRow lane={lane} node={props.node} />}</For>
            </ul>
          </Show>
        </div>
      </Show>
      <footer class="machine-foot">
        <span class="machine-load" data-active={(props.node.in_flight ?? 0) > 0 ? "" : undefined}>
          {isAway() ? " " : (props.node.in_flight ?? 0) > 0 ? text.inFlight(props.node.in_flight ?? 0) : text.idle}
          <Show when={(props.node.queued ?? 0) > 0}>{` · ${text.queued(props.node.queued ?? 0)}`}</Show>
        </span>
        <span class="machine-facts">{facts(props.node)}</span>
      </footer>
    </li>
  );
}

function LaneRow(props: { lane: Lane; node: Node }) {
  const lane = () => props.lane;
  const context = () => lane().loaded?.context;
  // Of other machines only the sum of a server is known.
  const slots = () => lane().slots ?? (props.node.backends ?? []).find((server) => server.id === lane().backend)?.slots;
  return (
    <li class="lane" data-state={lane().state}>
      <span class="lane-name" title={lane().name}>
        {lane().name}
      </span>
      <span class="lane-facts">
        <Show when={lane().state !== "loaded"}>
          <span class="lane-state">{text.lane[lane().state] ?? lane().state}</span>
        </Show>
        <Show when={context()}>{(tokens) => <span title={text.contextTip(format.count(tokens()))}>{text.contextOf(format.context(tokens()))}</span>}</Show>
        <Show when={lane().loaded?.size}>{(size) => <span>{format.bytes(size())}</span>}</Show>
      </span>
      <Slots used={lane().in_flight} total={slots()} waiting={lane().waiting} />
      <Show when={lane().reason}>{(why) => <span class="lane-reason">{why()}</span>}</Show>
    </li>
  );
}

/** Why the machine is in its state, in its own words where it gave some. */
function reason(node: Node): string {
  const trouble = node.trouble ? sentence(node.trouble) : undefined;
  if (!node.self && node.presence !== "here") {
    const presence = words.presence[node.presence as "gone"] ?? node.presence;
    const heard = node.silent_for_s === undefined ? (node.presence === "gone" ? text.never : presence) : text.silent(format.about(node.silent_for_s));
    return [node.presence === "gone" ? heard : sentence(presence), trouble].filter(Boolean).map((said) => sentence(said ?? "")).join(" ");
  }
  if (trouble) return trouble;
  return node.share?.reason ?? text.noServers;
}

const kind = (machine: Machine | undefined): string => [machine?.chip ?? machine?.model, machine?.os].filter(Boolean).join(" · ");

function facts(node: Node): string {
  const servers = (node.backends ?? []).map((server) => [server.kind, server.version, server.health === "up" ? undefined : (text.health[server.health] ?? server.health)].filter(Boolean).join(" "));
  const far = node.rtt_ms === undefined ? undefined : text.rtt(node.rtt_ms < 10 ? node.rtt_ms.toFixed(1) : node.rtt_ms.toFixed(0));
  return [...servers, far].filter(Boolean).join(" · ");
}

const usedMemory = (machine: Machine | undefined): number | undefined =>
  machine?.memory_total === undefined || machine.memory_available === undefined ? undefined : machine.memory_total - machine.memory_available;

function memoryText(machine: Machine | undefined): string | undefined {
  const used = usedMemory(machine);
  return used === undefined ? undefined : format.bytesOf(Math.max(0, used), machine?.memory_total ?? 0);
}

const gpuPercent = (gpu: Gpu): number | undefined => format.percent(gpu.memory_used, gpu.memory_total) ?? gpu.busy_percent;

function gpuText(gpu: Gpu): string | undefined {
  return gpu.memory_used !== undefined && gpu.memory_total !== undefined ? format.bytesOf(gpu.memory_used, gpu.memory_total) : undefined;
}
