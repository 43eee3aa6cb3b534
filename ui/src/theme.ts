// Light or dark: as the system has it, until somebody says otherwise.

import { createSignal } from "solid-js";

export type Theme = "system" | "light" | "dark";
const KEY = "herd.theme";
const ORDER: Theme[] = ["system", "light", "dark"];

const stored = (): Theme => {
  try {
    const value = localStorage.getItem(KEY);
    return value === "light" || value === "dark" ? value : "system";
  } catch {
    return "system";
  }
};

const [theme, setTheme] = createSignal<Theme>(stored());
/** Grows whenever the colours have changed, for what is not drawn by styles. */
const [themeVersion, setThemeVersion] = createSignal(0);
export { theme, themeVersion };

const changed = (): void => void queueMicrotask(() => setThemeVersion((version) => version + 1));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);

export const nextTheme = (): Theme => ORDER[(ORDER.indexOf(theme()) + 1) % ORDER.length] ?? "system";

/** Takes the next of the three. */
export function changeTheme(): void {
  const next = nextTheme();
  setTheme(next);
  try {
    if (next === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, next);
  } catch {
    // Without storage the choice would not last; the page follows the system.
  }
  dispatchEvent(new Event("herd:theme"));
  changed();
}
