// Tries each feature with each client and keeps what came of it, one cell of the tables in docs/clients.md each.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";

import { BACKEND } from "./both.mjs";
import { features } from "./features.mjs";
import { No, NotApplicable } from "./wish.mjs";

const { CELLS, KNOWN } = process.env;
const known = KNOWN ? JSON.parse(readFileSync(KNOWN, "utf8")) : [];
const rows = [];

/** The title of the known fault that spoils this cell, if there is one. A pattern may end with `*`, or begin with it. */
function knownFault(client, feature) {
  const fits = (pattern) =>
    new RegExp(`^${pattern.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&")).join(".*")}$`).test(client.title);
  return known.find(
    ({ backends, features, clients }) => backends.includes(BACKEND) && features.includes(feature) && clients.some(fits),
  )?.title;
}

/** The version of a package as it is installed. */
function version(name) {
  return JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url), "utf8")).version;
}

/** A test per feature that `client` has. */
export function tests(client) {
  const packages = client.packages.map((name) => `\`${name}\` ${version(name)}`).join(", ");
  const add = (feature, cell) => rows.push({ client: client.title, packages, feature, cell });
  for (const feature of Object.keys(client.lacks)) assert.ok(features.has(feature), feature);
  for (const [feature, tried] of features) {
    if (client.lacks[feature]) {
      add(feature, `n/a: ${client.lacks[feature]}`);
      continue;
    }
    test(`${client.title}: ${feature}`, async (context) => {
      const fault = knownFault(client, feature);
      let refusal;
      try {
        refusal = await tried(client);
      } catch (error) {
        if (error instanceof NotApplicable) return add(feature, `n/a: ${error.message}`);
        add(feature, `no: ${fault ?? error.message}`);
        if (fault) return context.skip(`known fault: ${fault}`);
        throw error;
      }
      assert.ok(!fault, `this works now, take it out of known.json: ${fault}`);
      add(feature, refusal instanceof No ? `no: ${refusal.words}` : "yes");
    });
  }
}

/** When all is done: leaves the cells where the program that makes the page looks for them. */
export function write() {
  after(() => CELLS && writeFileSync(join(CELLS, "node.json"), JSON.stringify(rows)));
}
