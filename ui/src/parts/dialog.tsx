// A window over the page: the browser's own dialog, so that focus stays in it, Escape closes it and it comes back after.

import { onCleanup, onMount, type JSX } from "solid-js";
import { words } from "../words";
import { Icon } from "./icon";

let number = 0;

export function Dialog(props: { title: string; onClose: () => void; children: JSX.Element }) {
  let element: HTMLDialogElement | undefined;
  const id = `dialog-${(number += 1)}`;
  onMount(() => {
    const before = document.activeElement;
    element?.showModal();
    onCleanup(() => {
      element?.close();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    });
  });
  return (
    <dialog
      ref={element}
      class="dialog"
      aria-labelledby={id}
      onCancel={(event) => {
        event.preventDefault();
        props.onClose();
      }}
      onClick={(event) => {
        if (event.target === element) props.onClose();
      }}
    >
      <div class="dialog-body">
        <header class="dialog-head">
          <h2 id={id}>{props.title}</h2>
          <button type="button" class="button quiet icon-only" aria-label={words.close} onClick={() => props.onClose()}>
            <Icon name="cross" />
          </button>
        </header>
        {props.children}
      </div>
    </dialog>
  );
}
