// A conversation with any model, and who answered how fast.

import { createEffect, createMemo, createSignal, For, onCleanup, Show } from "solid-js";
import { createStore } from "solid-js/store";
import { askFor, chatModels } from "../choice";
import { chat, type Message, type Result } from "../client/chat";
import * as format from "../format";
import { inOrder } from "../health";
import { Empty, PageHead } from "../parts/basics";
import { Icon } from "../parts/icon";
import { Link } from "../parts/link";
import { Prose } from "../parts/prose";
import { arrived, known } from "../state";
import { words } from "../words";

const text = words.playground;

interface Turn {
  role: "user" | "assistant";
  content: string;
  thinking: string;
  model?: string;
  running?: boolean;
  stopped?: boolean;
  error?: string;
  result?: Result;
}

// Kept while one looks at other pages.
const [turns, setTurns] = createStore<Turn[]>([]);
const [model, setModel] = createSignal("");
const [machine, setMachine] = createSignal("");
const [system, setSystem] = createSignal("");
const [temperature, setTemperature] = createSignal<number>();
const [draft, setDraft] = createSignal("");
const [running, setRunning] = createSignal<AbortController>();

export function Playground() {
  let input: HTMLTextAreaElement | undefined;
  let end: HTMLDivElement | undefined;
  const nodes = createMemo(() => inOrder(known.nodes ?? []).filter((node) => node.self || node.presence === "here"));
  const models = createMemo(() => {
    const of = machine();
    return chatModels((known.models ?? []).filter((row) => of === "" || row.node === of));
  });
  // A choice that is there no more gives way to the first one.
  createEffect(() => {
    if (models().length > 0 && !models().includes(model())) setModel(models()[0] ?? "");
  });
  createEffect(() => {
    if (machine() !== "" && arrived() && !nodes().some((node) => node.name === machine())) setMachine("");
  });

  const grow = (): void => {
    if (!input) return;
    input.style.height = "auto";
    input.style.height = `${Math.min(input.scrollHeight, 220)}px`;
  };
  let follows = true;
  const onScroll = (): void => {
    follows = innerHeight + scrollY >= document.documentElement.scrollHeight - 120;
  };
  addEventListener("scroll", onScroll, { passive: true });
  onCleanup(() => removeEventListener("scroll", onScroll));
  const follow = (): void => {
    if (follows) requestAnimationFrame(() => end?.scrollIntoView({ block: "end" }));
  };

  const send = async (): Promise<void> => {
    const said = draft().trim();
    if (said === "" || running() || model() === "") return;
    setDraft("");
    queueMicrotask(grow);
    const history: Message[] = turns.filter((turn) => !turn.error && turn.content).map(({ role, content }) => ({ role, content }));
    const messages: Message[] = [...(system().trim() ? [{ role: "system" as const, content: system().trim() }] : []), ...history, { role: "user", content: said }];
    const hangUp = new AbortController();
    setRunning(hangUp);
    const at = turns.length + 1;
    setTurns(turns.length, { role: "user", content: said, thinking: "" });
    setTurns(at, { role: "assistant", content: "", thinking: "", model: model(), running: true });
    follows = true;
    follow();
    try {
      const wanted = known.nodes?.find((node) => node.name === machine());
      const result = await chat({ model: askFor(model(), wanted), messages, temperature: temperature(), only: wanted?.name }, hangUp.signal, (piece) => {
        if (piece.content) setTurns(at, "content", (before) => before + piece.content);
        if (piece.thinking) setTurns(at, "thinking", (before) => before + piece.thinking);
        follow();
      });
      setTurns(at, { result });
    } catch (error) {
      if (hangUp.signal.aborted) setTurns(at, { stopped: true });
      else setTurns(at, { error: error instanceof Error ? error.message : String(error) });
    } finally {
      setTurns(at, { running: false });
      setRunning(undefined);
      follow();
      input?.focus();
    }
  };
  const stop = (): void => running()?.abort();
  const clear = (): void => {
    stop();
    setTurns([]);
    input?.focus();
  };

  return (
    <div class="playground">
      <PageHead title={text.title} summary={text.summary}>
        <Show when={turns.length > 0}>
          <button type="button" class="button" onClick={clear}>
            <Icon name="plus" size={17} />
            {text.clear}
          </button>
        </Show>
      </PageHead>
      <Show when={models().length > 0 || !arrived() || turns.length > 0 || machine() !== ""} fallback={<Empty icon="playground" title={text.noModels} how={text.noModelsHow} />}>
        <div class="chat-bar">
          <label class="field grow">
            <span class="field-label">{text.model}</span>
            <select value={model()} onChange={(event) => setModel(event.currentTarget.value)}>
              <For each={models()}>{(name) => <option value={name}>{name}</option>}</For>
            </select>
          </label>
          <label class="field grow">
            <span class="field-label">{text.machine}</span>
            <select value={machine()} onChange={(event) => setMachine(event.currentTarget.value)}>
              <option value="">{text.soonest}</option>
              <For each={nodes()}>{(node) => <option value={node.name}>{node.name}</option>}</For>
            </select>
          </label>
          <details class="chat-options">
            <summary class="button">{text.options}</summary>
            <div class="chat-options-body">
              <label class="field">
                <span class="field-label">{text.system}</span>
                <textarea rows={3} placeholder={text.systemHint} value={system()} onInput={(event) => setSystem(event.currentTarget.value)} />
              </label>
              <label class="field">
                <span class="field-label">
                  {text.temperature}: {temperature() === undefined ? text.temperatureAuto : temperature()?.toFixed(1)}
                </span>
                <input type="range" min="0" max="2" step="0.1" value={temperature() ?? 0.8} onInput={(event) => setTemperature(Number(event.currentTarget.value))} onDblClick={() => setTemperature(undefined)} />
              </label>
            </div>
          </details>
        </div>
        <div class="turns" role="log" aria-live="off" aria-label={text.title}>
          <Show when={turns.length > 0} fallback={<Start onTry={(said) => { setDraft(said); void send(); }} />}>
            <For each={turns}>{(turn) => <TurnView turn={turn} />}</For>
          </Show>
          <div ref={end} class="turns-end" />
        </div>
        <form
          class="composer"
          onSubmit={(event) => {
            event.preventDefault();
            void send();
          }}
        >
          <label class="visually-hidden" for="message">
            {text.message}
          </label>
          <textarea
            id="message"
            ref={input}
            rows={1}
            placeholder={text.messageHint}
            value={draft()}
            onInput={(event) => {
              setDraft(event.currentTarget.value);
              grow();
            }}
            onKeyDown={(event) => {
              if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
                event.preventDefault();
                void send();
              }
            }}
          />
          <Show
            when={running()}
            fallback={
              <button type="submit" class="button primary round" disabled={draft().trim() === "" || model() === ""} aria-label={text.send} title={text.keys}>
                <Icon name="send" />
              </button>
            }
          >
            <button type="button" class="button round" aria-label={text.stop} title={text.stop} onClick={stop}>
              <Icon name="stop" />
            </button>
          </Show>
        </form>
      </Show>
    </div>
  );
}

function Start(props: { onTry: (text: string) => void }) {
  return (
    <Empty icon="playground" title={text.empty} how={text.emptyHow}>
      <div class="tries">
        <For each={text.tries}>
          {(said) => (
            <button type="button" class="button" onClick={() => props.onTry(said)}>
              {said}
            </button>
          )}
        </For>
      </div>
    </Empty>
  );
}

function TurnView(props: { turn: Turn }) {
  const turn = () => props.turn;
  return (
    <div class="turn" data-role={turn().role}>
      <Show
        when={turn().role === "assistant"}
        fallback={
          <div class="bubble">
            <span class="visually-hidden">{text.you}: </span>
            {turn().content}
          </div>
        }
      >
        <p class="turn-head">
          <strong>{turn().model}</strong>
          <Show when={turn().result?.node}>{(node) => <span>{text.by(node())}</span>}</Show>
        </p>
        <Show when={turn().thinking}>
          <details class="thinking" open={turn().running && !turn().content}>
            <summary>{text.thinking}</summary>
            <p>{turn().thinking}</p>
          </details>
        </Show>
        <Show when={turn().content} fallback={<Show when={turn().running && !turn().thinking}><p class="waiting-dots" role="status"><span class="visually-hidden">{text.waiting}</span><i /><i /><i /></p></Show>}>
          <Prose text={turn().content} />
        </Show>
        <Show when={turn().running && turn().content}>
          <span class="caret" aria-hidden="true" />
        </Show>
        <Show when={turn().error}>
          {(error) => (
            <div class="notice" data-tone="bad" role="alert">
              <Icon name="problem" />
              <div>
                <p class="notice-title">{text.failed}</p>
                <p>{error()}</p>
              </div>
            </div>
          )}
        </Show>
        <Show when={turn().stopped}>
          <p class="turn-foot">{text.stopped}</p>
        </Show>
        <Show when={turn().result}>{(result) => <Numbers result={result()} />}</Show>
      </Show>
    </div>
  );
}

function Numbers(props: { result: Result }) {
  const speed = () => {
    const { answerTokens, writingMs } = props.result;
    return answerTokens !== undefined && writingMs !== undefined && writingMs > 0 ? answerTokens / (writingMs / 1000) : undefined;
  };
  return (
    <p class="turn-foot">
      <Show when={props.result.answerTokens}>{(tokens) => <span>{text.tokens(tokens())}</span>}</Show>
      <Show when={speed()}>{(value) => <span>{text.speed(format.perSecond(value()))}</span>}</Show>
      <Show when={props.result.firstMs}>{(ms) => <span>{text.first(format.span(ms()))}</span>}</Show>
      <Show when={props.result.requestId}>
        {(id) => (
          <Link to={`/requests/${id()}`} class="link">
            {text.why}
          </Link>
        )}
      </Show>
    </p>
  );
}
