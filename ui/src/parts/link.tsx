// A link to another page of the dashboard: an ordinary link to the browser, no new page load to the reader.

import type { JSX } from "solid-js";
import { go, href, isPlain } from "../router";

export function Link(props: { to: string; class?: string; current?: boolean; label?: string; children: JSX.Element }) {
  return (
    <a
      href={href(props.to)}
      class={props.class}
      aria-current={props.current ? "page" : undefined}
      aria-label={props.label}
      onClick={(event) => {
        if (!isPlain(event)) return;
        event.preventDefault();
        go(props.to);
      }}
    >
      {props.children}
    </a>
  );
}
