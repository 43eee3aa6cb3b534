// The dashboard in a browser, against three real nodes; one of them is killed while somebody watches.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { barriers, open, overflow, start } from "./browser.mjs";
import { eventually, Machine } from "./fleet.mjs";

const PAGES = ["", "/requests", "/playground", "/devices", "/settings", "/welcome"];
const LOOKS = [
  { name: "light", colorScheme: "light" },
  { name: "dark", colorScheme: "dark" },
  { name: "360 px", colorScheme: "light", viewport: { width: 360, height: 740 } },
];

let browser;
let machines = [];
const text = (page, selector) => page.locator(selector).first().innerText();

before(async () => {
  browser = await start();
  machines = await Promise.all([
    Machine.start("studio", "alpha,shared", ["--token-ms", "30"]),
    Machine.start("gaming", "beta,shared", ["--token-ms", "30"]),
    Machine.start("laptop", "gamma"),
  ]);
  const [studio, gaming, laptop] = machines;
  await studio.letIn(gaming);
  await studio.letIn(laptop);
  await eventually("all models to be listed", async () => {
    const models = await studio.look("/fleet/models");
    return ["alpha", "beta", "gamma"].every((name) => models.some((model) => model.name.startsWith(name)));
  });
  assert.equal((await studio.chat("alpha", {}, { "User-Agent": "tester/1.0" })).status, 200);
  assert.equal((await studio.chat("nothing-of-the-kind")).status, 404);
});

after(async () => {
  await browser?.close();
  for (const machine of machines) await machine.stop();
});

describe("every page", () => {
  for (const look of LOOKS) {
    test(`in ${look.name}: nothing in the console, nothing too wide, no barriers`, async () => {
      const { name: _, ...context } = look;
      const page = await open(browser, await machines[0].signedIn(), context);
      for (const path of PAGES) {
        await page.goto(`${machines[0].url}/dashboard${path}`);
        await page.waitForSelector("main h1");
        await page.waitForSelector(".connection[data-state=live]", { state: "attached" });
        await page.waitForFunction(() => !document.querySelector("main .skeleton"));
        assert.deepEqual(await barriers(page), [], path);
        assert.ok((await overflow(page)) <= 0, `${path} is too wide`);
      }
      await page.goto(`${machines[0].url}/dashboard/requests`);
      await page.locator(".trace-link", { hasText: "alpha" }).first().click();
      await page.waitForSelector(".story li");
      assert.deepEqual(await barriers(page), [], "one request");
      assert.ok((await overflow(page)) <= 0, "one request is too wide");
      assert.deepEqual(page.complaints, []);
      await page.context().close();
    });
  }

  test("is served with a policy that lets nothing else in, and only once", async () => {
    const first = await fetch(`${machines[0].url}/dashboard/requests/abc`);
    const policy = first.headers.get("content-security-policy");
    assert.match(policy, /default-src 'none'/);
    assert.doesNotMatch(policy, /unsafe/);
    const again = await fetch(`${machines[0].url}/dashboard`, { headers: { "If-None-Match": first.headers.get("etag") } });
    assert.equal(again.status, 304);
    for (const missing of ["/dashboard/nothing.js", "/dashboard/api/nothing"]) assert.equal((await fetch(machines[0].url + missing)).status, 404);
  });
});

describe("who may change things", () => {
  test("a ticket signs in once, and is gone from the address", async () => {
    const address = await machines[0].signedIn();
    const page = await open(browser, address);
    await page.getByText("Signed in").waitFor();
    assert.equal(new URL(page.url()).hash, "");
    const late = await open(browser, address);
    await late.getByRole("alert").waitFor();
    await late.getByText("View only").waitFor();
    assert.equal(late.complaints.length, 1, "the refusal itself");
    for (const opened of [page, late]) await opened.context().close();
  });

  test("whoever is not signed in sees everything and is told how to", async () => {
    const page = await open(browser, `${machines[0].url}/dashboard/devices`);
    await page.getByText("herd dashboard").waitFor();
    assert.equal(await page.getByRole("button", { name: "Add a device" }).isDisabled(), true);
    assert.equal(await page.locator(".device").count(), 3);
    const refused = await fetch(`${machines[0].url}/fleet/rename`, { method: "POST", body: JSON.stringify({ device: "gaming", name: "x" }), headers: { "Content-Type": "application/json" } });
    assert.equal(refused.status, 401);
    assert.deepEqual(page.complaints, []);
    await page.context().close();
  });

  test("a session ends with signing out", async () => {
    const page = await open(browser, await machines[0].signedIn());
    await page.getByText("Signed in").waitFor();
    const token = await page.evaluate(() => sessionStorage.getItem("herd.session"));
    const isIn = async () => (await (await fetch(`${machines[0].url}/dashboard/api/session`, { headers: { Authorization: `Bearer ${token}` } })).json()).signed_in;
    assert.equal(await isIn(), true);
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByText("View only").waitFor();
    await eventually("the session to end", async () => !(await isIn()));
    await page.context().close();
  });
});

describe("what pages do", () => {
  test("requests in flight are seen while they run, and their record as they end", async () => {
    const page = await open(browser, `${machines[0].url}/dashboard`);
    const card = page.locator(".machine", { hasText: "studio" });
    await card.getByText("This machine").waitFor();
    const answer = machines[0].chat("alpha", { options: { num_predict: 60 } }, { "User-Agent": "watched/2.0" });
    await card.locator(".slot.used").first().waitFor();
    await card.getByText("1 request running").waitFor();
    await answer;
    await card.getByText("Idle").waitFor();
    await page.locator(".trace", { hasText: "watched" }).first().waitFor();
    assert.deepEqual(page.complaints, []);
    await page.context().close();
  });

  test("a request tells why it went where it went, and the filter finds it", async () => {
    const page = await open(browser, `${machines[0].url}/dashboard/requests`);
    await page.getByLabel("Search").fill("tester");
    await page.locator(".trace").first().waitFor();
    await page.waitForFunction(() => [...document.querySelectorAll(".trace")].every((row) => row.textContent.includes("tester")));
    await page.locator(".trace-link").first().click();
    const story = await text(page, ".story");
    assert.match(story, /tester asked for alpha/);
    assert.match(story, /answered to the end/);
    await page.goto(`${machines[0].url}/dashboard/requests/nothing`);
    await page.getByText("not on record").waitFor();
    await page.goBack();
    await page.waitForSelector(".story");
    await page.context().close();
  });

  test("a chat is streamed, tells who answered, and stops when told", async () => {
    const page = await open(browser, `${machines[0].url}/dashboard/playground`);
    const [model, machine] = ["Model", "Machine"].map((name) => page.getByRole("combobox", { name, exact: true }));
    await model.selectOption("alpha:latest");
    await page.getByLabel("Message").fill("Hello.");
    await page.keyboard.press("Enter");
    await page.locator(".turn .prose").first().waitFor();
    await page.getByText("answered by studio").waitFor();
    assert.match(await text(page, ".turn-foot"), /tokens/);
    await machine.selectOption("gaming");
    await model.locator("option", { hasText: "beta" }).waitFor({ state: "attached" });
    await page.getByLabel("Message").fill("And you?");
    await page.getByRole("button", { name: "Send" }).click();
    await page.locator(".turn").nth(3).locator(".prose").waitFor();
    await page.getByRole("button", { name: "Stop" }).click();
    await page.getByText("stopped").waitFor();
    assert.deepEqual(page.complaints, []);
    await page.context().close();
  });

  test("the first steps test each machine and show what arrives", async () => {
    const page = await open(browser, `${machines[0].url}/dashboard/welcome`);
    await page.getByText("Found 1 inference server").waitFor();
    await page.getByRole("button", { name: "Next" }).click();
    await page.getByText("This machine is in the fleet").waitFor();
    await page.getByRole("button", { name: "Next" }).click();
    await page.getByRole("button", { name: "Test every machine" }).click();
    await page.getByText("Every machine answers.").waitFor();
    assert.equal(await page.locator(".test[data-state=good]").count(), 3);
    assert.deepEqual(page.complaints, []);
    await page.context().close();
  });

  test("a device is renamed, and everybody calls it so", async () => {
    const page = await open(browser, await machines[0].signedIn());
    await page.goto(`${machines[0].url}/dashboard/devices`);
    await page.getByRole("button", { name: "Rename gaming" }).click();
    await page.getByLabel("New name").fill("gaming pc");
    await page.keyboard.press("Enter");
    await page.locator(".device", { hasText: "gaming pc" }).waitFor();
    await eventually("the others to hear of it", async () => (await machines[2].look("/fleet/devices")).some((device) => device.name === "gaming pc"));
    assert.deepEqual(page.complaints, []);
    await page.context().close();
  });

  test("a code is shown with its time, asks before it lets somebody in, and is withdrawn with its window", async () => {
    const page = await open(browser, await machines[0].signedIn());
    await page.goto(`${machines[0].url}/dashboard/devices`);
    await page.getByRole("button", { name: "Add a device" }).click();
    const code = (await page.locator(".code").getAttribute("aria-label")).replaceAll(" ", "");
    await page.getByText(/Good for [12]:/).waitFor();
    assert.deepEqual(await barriers(page), []);
    const fourth = await Machine.start("fourth", "delta");
    machines.push(fourth);
    await page.getByText("If it finds nothing").click();
    const address = (await text(page, ".pairing-address code")).split("--addr ")[1].trim();
    const joined = fourth.command("join", code, "--addr", address, "--json");
    await page.getByText("Let “fourth” in?").waitFor();
    await page.getByRole("button", { name: "Allow", exact: true }).click();
    await page.getByText("fourth is in the fleet now").waitFor();
    await joined;
    await page.getByRole("button", { name: "Done" }).click();
    await page.locator(".device", { hasText: "fourth" }).waitFor();
    // A second code, as the tray asks for it, and nobody comes.
    await page.goto(`${machines[0].url}/dashboard/devices?add`);
    await page.locator(".code").waitFor();
    await page.keyboard.press("Escape");
    await page.locator(".dialog").waitFor({ state: "detached" });
    await eventually("the code to be withdrawn", () => machines[0].said.includes("the code was withdrawn"));
    // And it is removed again.
    await page.getByRole("button", { name: "Remove: fourth" }).click();
    await page.locator(".dialog").getByRole("button", { name: "Remove" }).click();
    await page.waitForFunction(() => document.querySelectorAll(".device").length === 3);
    assert.deepEqual(page.complaints, []);
    await page.context().close();
  });

  test("sharing is paused and resumed, and the overview says so", async () => {
    const page = await open(browser, await machines[0].signedIn());
    await page.goto(`${machines[0].url}/dashboard/settings`);
    await page.getByRole("button", { name: "Pause 30 min" }).click();
    await page.locator(".share-now", { hasText: "Paused" }).waitFor();
    assert.equal((await machines[0].look("/fleet/share")).state, "paused");
    await page.getByRole("link", { name: "Fleet" }).click();
    await page.locator(".machine", { hasText: "studio" }).getByText("Paused", { exact: true }).waitFor();
    await page.getByRole("link", { name: "Settings" }).click();
    await page.getByRole("button", { name: "Share again" }).click();
    await page.locator(".share-now", { hasText: "Sharing" }).waitFor();
    assert.deepEqual(page.complaints, []);
    await page.context().close();
  });

  test("settings are found by their names and tell where they come from", async () => {
    const page = await open(browser, `${machines[0].url}/dashboard/settings`);
    await page.getByPlaceholder("Find a setting").fill("FLEET_PORT");
    await page.locator(".setting", { hasText: "FLEET_PORT" }).waitFor();
    assert.equal(await page.locator(".setting").count(), 1);
    assert.match(await text(page, ".setting"), /environment/);
    await page.context().close();
  });
});

describe("keyboard and colours", () => {
  test("the first Tab skips to the page, and a dialog gives the focus back", async () => {
    const page = await open(browser, await machines[0].signedIn());
    await page.goto(`${machines[0].url}/dashboard/devices`);
    await page.locator(".device").first().waitFor();
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
    const rename = page.getByRole("button", { name: "Rename studio" });
    await rename.focus();
    await page.keyboard.press("Enter");
    await page.getByLabel("New name").waitFor();
    await page.keyboard.press("Escape");
    await page.locator(".dialog").waitFor({ state: "detached" });
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), "Rename studio");
    await page.context().close();
  });

  test("the theme follows the system until somebody says otherwise, and that is kept", async () => {
    const page = await open(browser, `${machines[0].url}/dashboard`, { colorScheme: "dark" });
    const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
    assert.equal(await theme(), "dark");
    await page.getByRole("button", { name: /Theme/ }).click();
    assert.equal(await theme(), "light");
    await page.reload();
    assert.equal(await theme(), "light");
    await page.context().close();
  });
});

describe("when things break", () => {
  test("a machine that is killed is seen to be gone", async () => {
    const page = await open(browser, `${machines[0].url}/dashboard`);
    const card = page.locator(".machine", { hasText: "laptop" });
    await card.getByText("Sharing", { exact: true }).waitFor();
    machines[2].kill();
    await card.getByText("Gone", { exact: true }).waitFor();
    assert.match(await card.innerText(), /Not heard/);
    assert.deepEqual(await barriers(page), []);
    assert.deepEqual(page.complaints, []);
    await page.context().close();
  });

  test("a page that loses its own node says so, and comes back with it", async () => {
    const lonely = await Machine.start("lonely", "alpha");
    machines.push(lonely);
    const page = await open(browser, `${lonely.url}/dashboard`, { first: true });
    // A machine alone that was never asked anything begins with the first steps.
    await page.waitForURL("**/dashboard/welcome");
    await page.goto(`${lonely.url}/dashboard`);
    await page.locator(".machine", { hasText: "lonely" }).waitFor();
    lonely.kill();
    await page.getByText("The connection to Herd is lost").waitFor();
    await lonely.again();
    await page.locator(".connection[data-state=live]").waitFor();
    await page.getByText("The connection to Herd is lost").waitFor({ state: "detached" });
    await page.context().close();
  });
});
