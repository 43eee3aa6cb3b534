// The first run in three steps: what was found here, a fleet, and a request to each machine that is seen to arrive.

import { createMemo, createSignal, For, Match, Show, Switch } from "solid-js";
import { createStore } from "solid-js/store";
import { askFor, testModel } from "../choice";
import { chat } from "../client/chat";
import { signedIn } from "../client/http";
import * as format from "../format";
import { inOrder } from "../health";
import { Pill, SignInHint } from "../parts/basics";
import { Icon } from "../parts/icon";
import { Link } from "../parts/link";
import { known } from "../state";
import type { Node } from "../types";
import { words } from "../words";
import { JoinForm } from "./devices/join";
import { Pairing } from "./devices/pair";

const text = words.welcome;

export function Welcome() {
  const [step, setStep] = createSignal(0);
  return (
    <div class="welcome">
      <header class="welcome-head">
        <h1 tabindex="-1">{text.title}</h1>
        <p class="summary">{text.summary}</p>
        <ol class="steps" aria-label={text.step(step() + 1)}>
          <For each={text.steps}>
            {(label, place) => (
              <li aria-current={place() === step() ? "step" : undefined} classList={{ past: place() < step() }}>
                <button type="button" onClick={() => setStep(place())}>
                  <span class="step-number" aria-hidden="true">
                    <Show when={place() < step()} fallback={place() + 1}>
                      <Icon name="check" size={15} />
                    </Show>
                  </span>
                  {label}
                </button>
              </li>
            )}
          </For>
        </ol>
      </header>
      <Switch>
        <Match when={step() === 0}>
          <ThisMachine />
        </Match>
        <Match when={step() === 1}>
          <YourFleet />
        </Match>
        <Match when={step() === 2}>
          <TryIt />
        </Match>
      </Switch>
      <div class="welcome-actions">
        <Show when={step() > 0}>
          <button type="button" class="button" onClick={() => setStep(step() - 1)}>
            {words.back}
          </button>
        </Show>
        <span class="grow" />
        <Show
          when={step() < 2}
          fallback={
            <Link to="/" class="button primary">
              {text.finish}
              <Icon name="arrow" size={17} />
            </Link>
          }
        >
          <Link to="/" class="button quiet">
            {text.skip}
          </Link>
          <button type="button" class="button primary" onClick={() => setStep(step() + 1)}>
            {words.next}
            <Icon name="arrow" size={17} />
          </button>
        </Show>
      </div>
    </div>
  );
}

function ThisMachine() {
  const servers = () => known.self?.backends ?? [];
  const own = () => (known.models ?? []).filter((model) => model.node === known.self?.name);
  const machine = () => known.nodes?.find((node) => node.self)?.machine;
  const about = () => [machine()?.chip ?? machine()?.model, machine()?.memory_total === undefined ? undefined : format.bytes(machine()?.memory_total ?? 0), machine()?.os].filter(Boolean).join(" · ");
  return (
    <section class="card step" aria-labelledby="step-1">
      <h2 id="step-1">{known.self?.name}</h2>
      <p class="muted">{about()}</p>
      <Show
        when={servers().length > 0}
        fallback={
          <div class="notice" data-tone="pause">
            <Icon name="warning" />
            <div>
              <p class="notice-title">{text.nothing}</p>
              <p>{text.nothingHow}</p>
            </div>
          </div>
        }
      >
        <p class="found">
          <Icon name="check" />
          {text.found(servers().length, own().length)}
        </p>
        <ul class="found-list">
          <For each={servers()}>
            {(server) => (
              <li>
                <Pill tone={server.health === "up" ? "good" : "bad"}>{words.machine.health[server.health] ?? server.health}</Pill>
                <strong>{server.id}</strong>
                <span class="muted">{[server.kind !== server.id ? server.kind : undefined, server.version, server.url].filter(Boolean).join(" · ")}</span>
                <span class="numbers">{text.models(server.models)}</span>
              </li>
            )}
          </For>
        </ul>
        <ul class="chips" aria-label={text.models(own().length)}>
          <For each={own().slice(0, 16)}>{(model) => <li>{model.name}</li>}</For>
        </ul>
      </Show>
    </section>
  );
}

function YourFleet() {
  const [way, setWay] = createSignal<"start" | "join">();
  const nodes = () => known.nodes ?? [];
  return (
    <section class="step" aria-labelledby="step-2">
      <h2 id="step-2" class="visually-hidden">
        {text.steps[1]}
      </h2>
      <Show when={nodes().length > 1}>
        <p class="found">
          <Icon name="check" />
          {text.already(known.fleet?.name ?? "", nodes().length)}
        </p>
      </Show>
      <SignInHint />
      <div class="ways">
        <div class="card way">
          <h3>{text.start}</h3>
          <p class="muted">{text.startHow}</p>
          <Show
            when={way() === "start"}
            fallback={
              <button type="button" class="button primary" disabled={!signedIn()} onClick={() => setWay("start")}>
                <Icon name="plus" size={17} />
                {words.devices.add}
              </button>
            }
          >
            <Pairing onDone={() => setWay(undefined)} />
          </Show>
        </div>
        <Show when={nodes().length <= 1}>
          <div class="card way">
            <h3>{text.join}</h3>
            <p class="muted">{text.joinHow}</p>
            <Show
              when={way() === "join"}
              fallback={
                <button type="button" class="button" disabled={!signedIn()} onClick={() => setWay("join")}>
                  {text.join}
                </button>
              }
            >
              <JoinForm onDone={() => setWay(undefined)} />
            </Show>
          </div>
        </Show>
      </div>
      <Show when={nodes().length <= 1}>
        <p class="muted">{text.alone}</p>
      </Show>
    </section>
  );
}

interface Try {
  state: "sending" | "good" | "bad";
  words: string;
  ms?: number;
  by?: string | undefined;
}

/** Sends one tiny request to a machine. */
async function ask(node: Node): Promise<Try> {
  if (!node.self && node.presence !== "here") return { state: "bad", words: text.away };
  const model = testModel(node, known.models ?? []);
  if (model === undefined) return { state: "bad", words: text.noModel };
  let said = "";
  const messages = [{ role: "user" as const, content: "Say hello." }];
  try {
    const result = await chat({ model: askFor(model, node), messages, most: 8, only: node.name }, AbortSignal.timeout(120_000), (piece) => {
      said += piece.content ?? "";
    });
    if (result.node !== undefined && result.node !== node.name) return { state: "bad", words: text.another(result.node) };
    return { state: "good", words: said.trim(), ms: result.firstMs ?? result.totalMs, by: model };
  } catch (error) {
    return { state: "bad", words: error instanceof Error ? error.message : String(error) };
  }
}

export function TryIt() {
  const [tries, setTries] = createStore<Record<string, Try>>({});
  const [running, setRunning] = createSignal(false);
  const nodes = createMemo(() => inOrder(known.nodes ?? []));
  const done = createMemo(() => nodes().filter((node) => tries[node.id] && tries[node.id]?.state !== "sending"));
  const test = async (): Promise<void> => {
    setRunning(true);
    await Promise.all(
      nodes().map(async (node) => {
        setTries(node.id, { state: "sending", words: text.sending });
        setTries(node.id, await ask(node));
      }),
    );
    setRunning(false);
  };
  return (
    <section class="card step" aria-labelledby="step-3">
      <h2 id="step-3">{text.steps[2]}</h2>
      <p class="muted">{text.testHow}</p>
      <ul class="tests">
        <For each={nodes()}>
          {(node) => {
            const tried = () => tries[node.id];
            return (
              <li class="test" data-state={tried()?.state}>
                <span class="test-name">{node.name}</span>
                <span class="wire" aria-hidden="true">
                  <span class="wire-dot" />
                </span>
                <span class="test-result" role="status">
                  <Switch fallback={<span class="muted">{words.none}</span>}>
                    <Match when={tried()?.state === "sending"}>{text.sending}</Match>
                    <Match when={tried()?.state === "good"}>
                      <Icon name="check" size={17} />
                      <span>
                        {text.arrived(format.span(tried()?.ms ?? 0))}
                        <span class="muted"> {text.by(tried()?.by ?? "")}</span>
                      </span>
                    </Match>
                    <Match when={tried()?.state === "bad"}>
                      <Icon name="problem" size={17} />
                      <span>{tried()?.words}</span>
                    </Match>
                  </Switch>
                </span>
              </li>
            );
          }}
        </For>
      </ul>
      <div class="test-actions">
        <button type="button" class="button primary" disabled={running() || nodes().length === 0} onClick={() => void test()}>
          <Icon name="bolt" size={17} />
          {done().length > 0 ? text.testAgain : text.test}
        </button>
        <Show when={!running() && done().length > 0}>
          <p role="status">{text.testDone(nodes().filter((node) => tries[node.id]?.state === "good").length, nodes().length)}</p>
        </Show>
      </div>
    </section>
  );
}
