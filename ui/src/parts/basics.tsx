// The small parts that every page is made of.

import { createSignal, onCleanup, Show, type JSX } from "solid-js";
import type { Tone } from "../health";
import { words } from "../words";
import { signedIn } from "../client/http";
import { Icon, type IconName } from "./icon";

/** A word with a colour and, for those who see none, a shape. */
export function Pill(props: { tone: Tone; title?: string; live?: boolean; children: JSX.Element }) {
  return (
    <span class="pill" data-tone={props.tone} title={props.title}>
      <span class="pill-dot" classList={{ live: props.live }} aria-hidden="true" />
      {props.children}
    </span>
  );
}

/** A mark on something: "Leader". */
export function Badge(props: { tone?: "leader" | "self" | "plain"; icon?: IconName; title?: string; children: JSX.Element }) {
  return (
    <span class="badge" data-tone={props.tone ?? "plain"} title={props.title}>
      <Show when={props.icon}>{(icon) => <Icon name={icon()} size={13} />}</Show>
      {props.children}
    </span>
  );
}

/** The head of a page. */
export function PageHead(props: { title: string; summary?: JSX.Element; children?: JSX.Element }) {
  return (
    <header class="page-head">
      <div>
        <h1 tabindex="-1">{props.title}</h1>
        <Show when={props.summary}>
          <p class="summary">{props.summary}</p>
        </Show>
      </div>
      <Show when={props.children}>
        <div class="page-actions">{props.children}</div>
      </Show>
    </header>
  );
}

/** Nothing to show, and what to do about it. */
export function Empty(props: { icon: IconName; title: string; how?: JSX.Element; children?: JSX.Element }) {
  return (
    <div class="empty">
      <span class="empty-icon">
        <Icon name={props.icon} size={26} />
      </span>
      <p class="empty-title">{props.title}</p>
      <Show when={props.how}>
        <p class="empty-how">{props.how}</p>
      </Show>
      {props.children}
    </div>
  );
}

/** Something went wrong, said where it did. */
export function Trouble(props: { title: string; text?: string; onRetry?: () => void }) {
  return (
    <div class="notice" data-tone="bad" role="alert">
      <Icon name="problem" />
      <div>
        <p class="notice-title">{props.title}</p>
        <Show when={props.text}>
          <p>{props.text}</p>
        </Show>
      </div>
      <Show when={props.onRetry}>
        {(retry) => (
          <button type="button" class="button small" onClick={() => retry()()}>
            {words.retry}
          </button>
        )}
      </Show>
    </div>
  );
}

/** Lines where text will be. */
export function Skeleton(props: { lines?: number }) {
  return (
    <div class="skeleton" role="status" aria-label={words.loading}>
      {Array.from({ length: props.lines ?? 3 }, () => (
        <span aria-hidden="true" />
      ))}
    </div>
  );
}

/** How to sign in, where a page could change something if it were. */
export function SignInHint() {
  return (
    <Show when={!signedIn()}>
      <div class="notice" data-tone="quiet">
        <Icon name="lock" />
        <p>
          {words.session.needed} {words.session.how[0]}
          <code>{words.session.how[1]}</code>
          {words.session.how[2]}
        </p>
      </div>
    </Show>
  );
}

/** Copies a text. */
export function Copy(props: { text: string }) {
  const [copied, setCopied] = createSignal(false);
  let timer: ReturnType<typeof setTimeout> | undefined;
  onCleanup(() => clearTimeout(timer));
  return (
    <button
      type="button"
      class="button quiet small"
      onClick={() => {
        void navigator.clipboard?.writeText(props.text).then(() => {
          setCopied(true);
          clearTimeout(timer);
          timer = setTimeout(() => setCopied(false), 1500);
        });
      }}
    >
      <Icon name={copied() ? "check" : "copy"} size={15} />
      {copied() ? words.copied : words.copy}
    </button>
  );
}
