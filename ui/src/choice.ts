// Which models can be talked to, and how one on a certain machine is asked for. Pure.

import type { Model, Node } from "./types";

/** Whether it can hold a conversation. Servers that do not tell get the benefit of the doubt, unless the name tells. */
export function canChat(model: Model): boolean {
  if (model.capabilities.length > 0) return model.capabilities.includes("completion");
  return !/embed|rerank|whisper|bge-|minilm/i.test(model.name);
}

/** The names of all that can be talked to, those in memory first. */
export function chatModels(models: readonly Model[]): string[] {
  const names = new Map<string, boolean>();
  for (const model of models.filter(canChat)) names.set(model.name, (names.get(model.name) ?? false) || model.loaded !== undefined);
  return [...names.entries()].sort(([a, hotA], [b, hotB]) => Number(hotB) - Number(hotA) || a.localeCompare(b)).map(([name]) => name);
}

/** What to ask for so that `machine` answers. This machine's own models have their plain names. */
export const askFor = (model: string, machine: Node | undefined): string => (machine === undefined || machine.self ? model : `${model}@${machine.name}`);

/** The model with which `machine` answers a test soonest: one in memory, else the smallest. */
export function testModel(machine: Node, models: readonly Model[]): string | undefined {
  const own = models.filter((model) => model.node === machine.name && canChat(model));
  own.sort((a, b) => Number(b.loaded !== undefined) - Number(a.loaded !== undefined) || (a.size ?? Infinity) - (b.size ?? Infinity) || a.name.localeCompare(b.name));
  return own[0]?.name;
}
