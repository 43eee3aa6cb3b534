// A real browser, whose console is listened to: whatever it complains about fails the test.

import { createRequire } from "node:module";
import { readFile } from "node:fs/promises";
import { chromium } from "playwright-core";
import { PATIENCE } from "./fleet.mjs";

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const start = () =>
  chromium.launch({
    executablePath: process.env.CHROMIUM,
    // Its sandbox needs rights that containers do not give; the only pages it opens are ours.
    args: ["--no-sandbox"],
  });

/** A page at `address`. Everything that its console says in red is in `complaints`. */
export async function open(browser, address, look = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, reducedMotion: "reduce", ...look });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.complaints = [];
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") page.complaints.push(`${message.text()} (${message.location().url})`);
  });
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  // The first steps come by themselves only where a test asks for them.
  if (!look.first) await page.addInitScript(() => localStorage.setItem("herd.welcomed", "yes"));
  await page.goto(address);
  await page.waitForSelector("main h1");
  return page;
}

/** What axe-core finds that keeps somebody out. Its script gets in by the debugger, past the page's own policy. */
export async function barriers(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  return violations
    .filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map(({ target, failureSummary }) => `${target.join(" ")} (${failureSummary})`).join("; ")}`);
}

/** By how many pixels the page is wider than its window. */
export const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
