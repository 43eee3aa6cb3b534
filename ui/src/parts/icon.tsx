// Icons: strokes on a 24 by 24 grid, drawn for this page, in the colour of the text around them.

import { For } from "solid-js";

const PATHS = {
  fleet: ["M4 5.5h7v5H4z", "M13 5.5h7v5h-7z", "M8.5 14.5h7v5h-7z", "M7.5 10.5v2h9v-2", "M12 12.5v2"],
  requests: ["M4 7h11", "M12 4l3 3-3 3", "M20 17H9", "M12 14l-3 3 3 3"],
  playground: ["M4 6.5C4 5.1 5.1 4 6.5 4h11C18.9 4 20 5.1 20 6.5v7c0 1.4-1.1 2.5-2.5 2.5H12l-4.5 4v-4h-1C5.1 16 4 14.9 4 13.5z", "M8.5 8.5h7", "M8.5 11.5h4"],
  devices: ["M3.5 6.5h12v8h-12z", "M7 18h5", "M9.500 14.500V18", "M18 9.500h2.500v9H15.500v-2"],
  settings: ["M4 7h8", "M16 7h4", "M14 5v4", "M4 12h2", "M10 12h10", "M8 10v4", "M4 17h10", "M18 17h2", "M16 15v4"],
  sun: ["M12 8.500a3.500 3.500 0 1 0 0 7a3.500 3.500 0 0 0 0-7z", "M12 3v2", "M12 19v2", "M3 12h2", "M19 12h2", "M5.600 5.600l1.400 1.400", "M17 17l1.400 1.400", "M5.600 18.400l1.400-1.400", "M17 7l1.400-1.400"],
  moon: ["M19.500 14.200A8 8 0 0 1 9.800 4.500a8 8 0 1 0 9.700 9.700z"],
  half: ["M12 4a8 8 0 1 0 0 16a8 8 0 0 0 0-16z", "M12 4v16", "M12 8l4.500 0", "M12 12h8", "M12 16l4.500 0"],
  plus: ["M12 5v14", "M5 12h14"],
  arrow: ["M5 12h14", "M13 6l6 6-6 6"],
  back: ["M19 12H5", "M11 6l-6 6 6 6"],
  check: ["M5 12.500l4.500 4.500L19 7.500"],
  cross: ["M6 6l12 12", "M18 6L6 18"],
  stop: ["M7 7h10v10H7z"],
  pause: ["M8.500 6v12", "M15.500 6v12"],
  send: ["M12 19V5", "M6 11l6-6 6 6"],
  search: ["M10.500 4.500a6 6 0 1 0 0 12a6 6 0 0 0 0-12z", "M15 15l4.500 4.500"],
  crown: ["M4.500 8l3.700 3.500L12 6l3.800 5.500L19.500 8l-1.500 9.500H6z"],
  warning: ["M12 4.500l8.500 15h-17z", "M12 10v4", "M12 16.800v.2"],
  problem: ["M12 4a8 8 0 1 0 0 16a8 8 0 0 0 0-16z", "M12 8v5", "M12 15.800v.2"],
  edit: ["M5 19l.8-3.800L15.500 5.500l3 3L8.800 18.200z", "M13.500 7.500l3 3"],
  lock: ["M6.500 11h11v8h-11z", "M9 11V8a3 3 0 0 1 6 0v3"],
  spark: ["M12 4l1.800 5.200L19 11l-5.200 1.800L12 18l-1.800-5.200L5 11l5.200-1.800z"],
  copy: ["M9 9h10v10H9z", "M15 9V5H5v10h4"],
  battery: ["M4 8.500h13v7H4z", "M17 11h2.500v2H17", "M7 11v2"],
  heat: ["M12 4.500a2 2 0 0 0-2 2v6.700a3.800 3.800 0 1 0 4 0V6.500a2 2 0 0 0-2-2z", "M12 10v6"],
  bolt: ["M13 4L6 13.500h5L11 20l7-9.500h-5z"],
} as const;

export type IconName = keyof typeof PATHS;

export function Icon(props: { name: IconName; size?: number; class?: string }) {
  return (
    <svg class={`icon ${props.class ?? ""}`} width={props.size ?? 20} height={props.size ?? 20} viewBox="0 0 24 24" aria-hidden="true">
      <For each={PATHS[props.name]}>{(path) => <path d={path} />}</For>
    </svg>
  );
}

/** The mark of Herd. */
export function Mark(props: { size?: number }) {
  const size = () => props.size ?? 32;
  return <img class="mark" src="/dashboard/herd.svg" width={size()} height={size()} alt="" />;
}
