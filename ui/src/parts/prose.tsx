// What a model wrote, with its code blocks, lists and emphasis. Everything becomes text nodes: nothing a model says is markup.

import { For, Match, Switch, type JSX } from "solid-js";
import { Copy } from "./basics";

export type Block = { kind: "code"; language: string; text: string } | { kind: "list"; ordered: boolean; items: string[] } | { kind: "heading"; text: string } | { kind: "paragraph"; text: string };

/** Cuts a text into blocks. An unfinished code block is one already. */
export function blocks(text: string): Block[] {
  const all: Block[] = [];
  let paragraph: string[] = [];
  const flush = (): void => {
    if (paragraph.length > 0) all.push({ kind: "paragraph", text: paragraph.join("\n") });
    paragraph = [];
  };
  const lines = text.split("\n");
  for (let at = 0; at < lines.length; at += 1) {
    const line = lines[at] ?? "";
    const fence = /^\s*```\s*([\w+#.-]*)/.exec(line);
    const item = /^\s*(?:[-*•]|(\d+)[.)])\s+(.*)$/.exec(line);
    const heading = /^#{1,6}\s+(.*)$/.exec(line);
    if (fence) {
      flush();
      const code: string[] = [];
      for (at += 1; at < lines.length && !/^\s*```\s*$/.test(lines[at] ?? ""); at += 1) code.push(lines[at] ?? "");
      all.push({ kind: "code", language: fence[1] ?? "", text: code.join("\n") });
    } else if (item) {
      flush();
      const ordered = item[1] !== undefined;
      const last = all.at(-1);
      if (last?.kind === "list" && last.ordered === ordered) last.items.push(item[2] ?? "");
      else all.push({ kind: "list", ordered, items: [item[2] ?? ""] });
    } else if (heading) {
      flush();
      all.push({ kind: "heading", text: heading[1] ?? "" });
    } else if (line.trim() === "") flush();
    else paragraph.push(line);
  }
  flush();
  return all;
}

/** Cuts a line into plain, strong and code. */
export function spans(text: string): { kind: "plain" | "strong" | "code"; text: string }[] {
  const all: { kind: "plain" | "strong" | "code"; text: string }[] = [];
  let rest = text;
  for (;;) {
    const found = /`([^`\n]+)`|\*\*([^*\n]+)\*\*/.exec(rest);
    if (!found) break;
    if (found.index > 0) all.push({ kind: "plain", text: rest.slice(0, found.index) });
    all.push(found[1] !== undefined ? { kind: "code", text: found[1] } : { kind: "strong", text: found[2] ?? "" });
    rest = rest.slice(found.index + found[0].length);
  }
  if (rest) all.push({ kind: "plain", text: rest });
  return all;
}

function Line(props: { text: string }): JSX.Element {
  return (
    <For each={spans(props.text)}>
      {(span) => (
        <Switch fallback={span.text}>
          <Match when={span.kind === "strong"}>
            <strong>{span.text}</strong>
          </Match>
          <Match when={span.kind === "code"}>
            <code>{span.text}</code>
          </Match>
        </Switch>
      )}
    </For>
  );
}

export function Prose(props: { text: string }) {
  return (
    <div class="prose">
      <For each={blocks(props.text)}>
        {(block) => (
          <Switch>
            <Match when={block.kind === "code" && block}>
              {(code) => (
                <div class="code-block">
                  <div class="code-head">
                    <span>{code().language}</span>
                    <Copy text={code().text} />
                  </div>
                  <pre tabindex="0">
                    <code>{code().text}</code>
                  </pre>
                </div>
              )}
            </Match>
            <Match when={block.kind === "list" && block}>
              {(list) =>
                list().ordered ? (
                  <ol>
                    <For each={list().items}>{(item) => <li><Line text={item} /></li>}</For>
                  </ol>
                ) : (
                  <ul>
                    <For each={list().items}>{(item) => <li><Line text={item} /></li>}</For>
                  </ul>
                )
              }
            </Match>
            <Match when={block.kind === "heading" && block}>{(heading) => <p class="prose-heading"><Line text={heading().text} /></p>}</Match>
            <Match when={block.kind === "paragraph" && block}>{(paragraph) => <p><Line text={paragraph().text} /></p>}</Match>
          </Switch>
        )}
      </For>
    </div>
  );
}
