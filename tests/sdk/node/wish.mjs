// What a test asks of any client, and what the client understood of the answer.

import { MODEL, tools } from "./both.mjs";

const time = {
  type: "function",
  function: {
    name: "time",
    description: "Tells the time in a city.",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};
export const bothTools = [...tools, time];
// One pixel.
export const PNG =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

/** The pair of client and backend has nothing to try; the text says why. */
export class NotApplicable extends Error {}

/** What was refused, in the words of the one who refused it. */
export class No {
  constructor(words) {
    this.words = words;
  }
}

/**
 * One request in nobody's dialect.
 *
 * `image` is the base64 of a PNG, or the address of one; `choice` is "required", "none" or a tool's name; `single` wants
 * no more than one call; `results` are calls made before, each with its result; `raw` are fields of the client's own
 * dialect, as they are.
 */
export const wish = (wanted = {}) => ({
  model: MODEL, stream: false, text: "Hello?", image: null, tools: [], choice: null, single: false, results: [],
  schema: null, json: false, think: null, most: null, stop: null, raw: {}, ...wanted,
});

/**
 * One answer in nobody's dialect.
 *
 * `calls` have an id, a name and an object of arguments; `finish` is "stop", "length" or "tools"; `tokens` are those read
 * and those made; `pieces` counts how many pieces of text came one after the other, 0 if it came whole.
 */
export const said = (understood = {}) => ({
  text: "", thinking: "", calls: [], finish: "", tokens: null, pieces: 0, ...understood,
});

/** Where an image lies, as most APIs want to be told. */
export const address = (image) => (image.includes("://") ? image : `data:image/png;base64,${image}`);

/** The fields of `object` that have a value. */
export const given = (object) =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined && value !== null));
