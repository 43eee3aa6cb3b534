// The frame around every page: where one can go, whether the connection lives, and who may change things.

import { createEffect, createMemo, createSignal, ErrorBoundary, For, Match, on, onCleanup, onMount, Show, Switch } from "solid-js";
import { signedIn, signIn, signOut } from "./client/http";
import { Empty, Trouble } from "./parts/basics";
import { Icon, Mark, type IconName } from "./parts/icon";
import { Link } from "./parts/link";
import { Devices } from "./pages/devices";
import { Overview } from "./pages/overview";
import { Playground } from "./pages/playground";
import { RequestDetail } from "./pages/request";
import { Requests } from "./pages/requests";
import { Settings } from "./pages/settings";
import { Welcome } from "./pages/welcome";
import { go, path } from "./router";
import { arrived, connection, known, start } from "./state";
import { changeTheme, nextTheme, theme } from "./theme";
import { words } from "./words";

const PAGES: { to: string; icon: IconName; label: string }[] = [
  { to: "/", icon: "fleet", label: words.nav.overview },
  { to: "/requests", icon: "requests", label: words.nav.requests },
  { to: "/playground", icon: "playground", label: words.nav.playground },
  { to: "/devices", icon: "devices", label: words.nav.devices },
  { to: "/settings", icon: "settings", label: words.nav.settings },
];

const WELCOMED = "herd.welcomed";

/** Notes that the first steps were shown, so that they do not come by themselves again. */
export function welcomed(): void {
  try {
    localStorage.setItem(WELCOMED, "yes");
  } catch {
    // They come again, then.
  }
}

const wasWelcomed = (): boolean => {
  try {
    return localStorage.getItem(WELCOMED) !== null;
  } catch {
    return true;
  }
};

const section = (): string => `/${path().split("/")[1] ?? ""}`;

export function App() {
  const [refusal, setRefusal] = createSignal<string>();
  onMount(() => {
    void signIn().then(setRefusal);
    onCleanup(start());
  });

  // A machine alone that never asked anything and was never shown the first steps: that is a first run.
  createEffect(() => {
    if (!arrived() || section() !== "/" || wasWelcomed()) return;
    if ((known.self?.nodes ?? 1) <= 1 && (known.totals?.total_requests ?? 0) === 0) go("/welcome");
    welcomed();
  });

  const title = createMemo(() => PAGES.find((page) => page.to === section())?.label ?? (section() === "/welcome" ? words.nav.welcome : words.name));
  createEffect(() => {
    const name = known.self?.name;
    document.title = `${title()} · ${name ? `${words.name} on ${name}` : words.name}`;
  });
  // Another page begins at its heading, for those who hear it.
  createEffect(on(path, () => document.querySelector<HTMLElement>("main h1")?.focus({ preventScroll: true }), { defer: true }));

  return (
    <div class="shell">
      <a class="skip" href="#main">
        {words.skip}
      </a>
      <aside class="side">
        <Link to="/" class="brand">
          <Mark />
          <span class="brand-text">
            <strong>{words.name}</strong>
            <span class="brand-fleet">{known.fleet?.name ?? known.self?.name ?? ""}</span>
          </span>
        </Link>
        <nav class="nav" aria-label={words.nav.label}>
          <For each={PAGES}>
            {(page) => (
              <Link to={page.to} class="nav-item" current={section() === page.to}>
                <Icon name={page.icon} />
                <span>{page.label}</span>
              </Link>
            )}
          </For>
        </nav>
        <div class="side-foot">
          <Connection />
          <Session />
        </div>
        <button
          type="button"
          class="button quiet icon-only theme"
          title={words.theme.change(words.theme[theme()], words.theme[nextTheme()])}
          aria-label={words.theme.change(words.theme[theme()], words.theme[nextTheme()])}
          onClick={changeTheme}
        >
          <Icon name={theme() === "light" ? "sun" : theme() === "dark" ? "moon" : "half"} />
        </button>
      </aside>
      <main id="main" tabindex="-1">
        <Show when={connection() === "lost"}>
          <div class="notice floating" data-tone="pause" role="status">
            <Icon name="warning" />
            <p>{words.connection.banner}</p>
          </div>
        </Show>
        <Show when={refusal()}>{(text) => <Trouble title={words.session.failed} text={text()} />}</Show>
        <ErrorBoundary
          fallback={(error) => {
            console.error(error);
            return (
              <Empty icon="problem" title={words.crashed.title} how={words.crashed.how}>
                <button type="button" class="button" onClick={() => location.reload()}>
                  {words.crashed.reload}
                </button>
              </Empty>
            );
          }}
        >
          <div class="page" classList={{ stale: connection() === "lost" }}>
            <Switch
              fallback={
                <Empty icon="search" title={words.notFound.title} how={words.notFound.how}>
                  <Link to="/" class="button">
                    {words.notFound.go}
                  </Link>
                </Empty>
              }
            >
              <Match when={path() === "/"}>
                <Overview />
              </Match>
              <Match when={path() === "/welcome"}>
                <Welcome />
              </Match>
              <Match when={path() === "/requests"}>
                <Requests />
              </Match>
              <Match when={/^\/requests\/([^/]+)$/.exec(path())?.[1]} keyed>
                {(id) => <RequestDetail id={decodeURIComponent(id)} />}
              </Match>
              <Match when={path() === "/playground"}>
                <Playground />
              </Match>
              <Match when={path() === "/devices"}>
                <Devices />
              </Match>
              <Match when={path() === "/settings"}>
                <Settings />
              </Match>
            </Switch>
          </div>
        </ErrorBoundary>
      </main>
    </div>
  );
}

function Connection() {
  return (
    <p class="connection" data-state={connection()} role="status">
      <span class="connection-dot" aria-hidden="true" />
      <span>{words.connection[connection()]}</span>
      <Show when={known.self?.version}>{(version) => <span class="version">{words.connection.version(version())}</span>}</Show>
    </p>
  );
}

function Session() {
  return (
    <p class="session">
      <Icon name={signedIn() ? "check" : "lock"} size={15} />
      <span>{signedIn() ? words.session.signedIn : words.session.readOnly}</span>
      <Show when={signedIn()}>
        <button type="button" class="link" onClick={() => void signOut()}>
          {words.session.signOut}
        </button>
      </Show>
    </p>
  );
}
