// Charts by uPlot, in the page's own colours. What a chart shows is also said in words beside it.

import { createEffect, onCleanup, onMount } from "solid-js";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { themeVersion } from "../theme";

type Columns = [number[], ...(number | null)[][]];

const colour = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

interface Look {
  label: string;
  height: number;
  /** Bars rather than an area. */
  bars?: boolean;
  /** The least that the vertical axis reaches up to. */
  least: number;
  /** Names of the series, the first one drawn strongest. */
  series: string[];
  /** Seconds up to the newest that are drawn, however many are known; all, if not told. */
  span?: number;
  /** Whether times are shown below. */
  times?: boolean;
}

export function Chart(props: Look & { data: Columns }) {
  let holder: HTMLDivElement | undefined;
  let plot: uPlot | undefined;

  const build = (): void => {
    if (!holder) return;
    plot?.destroy();
    const strokes = [colour("--accent"), colour("--amber")];
    const fills = [colour("--accent-soft"), colour("--amber-soft")];
    const axis: uPlot.Axis = {
      stroke: colour("--ink-3"),
      grid: { stroke: colour("--line"), width: 1 },
      ticks: { show: false },
      font: "11px Inter, ui-sans-serif, system-ui, sans-serif",
    };
    plot = new uPlot(
      {
        width: Math.max(120, holder.clientWidth),
        height: props.height,
        padding: [8, 0, props.times ? 0 : 4, 0],
        legend: { show: false },
        cursor: { show: false },
        select: { show: false, left: 0, top: 0, width: 0, height: 0 },
        scales: {
          ...(props.span ? { x: { range: (_u: uPlot, _min: number, max: number) => [max - (props.span ?? 0), max] as [number, number] } } : {}),
          y: { range: (_u, _min, max) => [0, Math.max(props.least, Math.ceil((max ?? 0) * 1.15))] },
        },
        axes: [
          { ...axis, show: props.times ?? false, size: 24, grid: { show: false }, space: 70, values: (_u, times) => times.map((time) => new Date(time * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" })) },
          { ...axis, size: 30, space: 32, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000] },
        ],
        series: [
          {},
          ...props.series.map((label, index) => ({
            label,
            stroke: strokes[index] ?? strokes[0],
            fill: props.bars ? (strokes[index] ?? strokes[0]) : (fills[index] ?? fills[0]),
            width: props.bars ? 0 : 1.75,
            points: { show: false },
            paths: props.bars ? uPlot.paths.bars!({ size: [0.6, 22], radius: 0.25 }) : uPlot.paths.stepped!({ align: 1 }),
          })),
        ],
      } as uPlot.Options,
      props.data as uPlot.AlignedData,
      holder,
    );
  };

  onMount(() => {
    build();
    const sized = new ResizeObserver(() => {
      if (holder && plot) plot.setSize({ width: Math.max(120, holder.clientWidth), height: props.height });
    });
    if (holder) sized.observe(holder);
    onCleanup(() => {
      sized.disconnect();
      plot?.destroy();
    });
  });
  createEffect(() => plot?.setData(props.data as uPlot.AlignedData));
  createEffect((before: number | undefined) => {
    const version = themeVersion();
    if (before !== undefined && before !== version) build();
    return version;
  }, undefined);

  return <div class="chart" ref={holder} role="img" aria-label={props.label} />;
}
