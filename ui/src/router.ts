// Which page is shown: the part of the address after /dashboard.

import { createSignal } from "solid-js";

const ROOT = "/dashboard";

const current = (): string => location.pathname.replace(/^\/dashboard/, "").replace(/\/+$/, "") || "/";

const [path, setPath] = createSignal(current());
export { path };

addEventListener("popstate", () => setPath(current()));

/** The full address of a page. */
export const href = (to: string): string => (to === "/" ? ROOT : ROOT + to);

/** Shows another page. */
export function go(to: string): void {
  if (to === path()) return;
  history.pushState(null, "", href(to));
  setPath(to.split("?")[0] ?? to);
  document.getElementById("main")?.scrollTo(0, 0);
  scrollTo(0, 0);
}

/** Whether a click is meant for this page, and not for a new tab. */
export const isPlain = (event: MouseEvent): boolean =>
  event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey && !event.defaultPrevented;
