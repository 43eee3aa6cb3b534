// Real nodes with stand-ins for Ollama behind them, on loopback, paired; and what tests ask of them.

import { spawn, execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** How long anything may take that is expected to happen: these machines are busy. */
export const PATIENCE = 60_000;

const { HERD, FAKE_OLLAMA } = process.env;
if (!HERD || !FAKE_OLLAMA) throw new Error("HERD and FAKE_OLLAMA name the programs: run `cargo xtask ui --test`");

/** Asks again until there is an answer that is not undefined. */
export async function eventually(what, look) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (Date.now() > end) throw new Error(`waited in vain for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const freePort = () =>
  new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });

/** The first line that a program prints. */
const firstLine = (child) =>
  new Promise((resolve, reject) => {
    let text = "";
    child.stdout.on("data", (data) => {
      text += data;
      if (text.includes("\n")) resolve(text.split("\n")[0]);
    });
    child.on("exit", (code) => reject(new Error(`a program ended with ${code} before it said anything`)));
  });

const environment = () => Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("FLEET_")));

/** One machine: a stand-in for Ollama and the node before it. */
export class Machine {
  static async start(name, models, flags = []) {
    const machine = new Machine();
    machine.name = name;
    machine.dir = await mkdtemp(join(tmpdir(), "herd-ui-"));
    machine.ollama = spawn(FAKE_OLLAMA, ["--port", "0", "--models", models, "--parallel", "2", ...flags], { stdio: ["ignore", "pipe", "ignore"] });
    const url = (await firstLine(machine.ollama)).replace("listening on ", "");
    const [port, mesh] = [await freePort(), await freePort()];
    machine.url = `http://127.0.0.1:${port}`;
    machine.env = {
      ...environment(),
      FLEET_NODE_ID: name,
      FLEET_DATA_DIR: machine.dir,
      FLEET_PORT: String(port),
      FLEET_MESH_PORT: String(mesh),
      FLEET_MDNS: "off",
      FLEET_LOCAL_DISCOVERY: "off",
      FLEET_BACKENDS: `${url}?slots=2&name=ollama`,
      // What the machine that runs the tests is doing is not what they are about.
      ...Object.fromEntries(["MEETINGS", "GAMES", "LID", "DISPLAY", "BATTERY", "HEAT", "METERED"].map((rule) => [`FLEET_PAUSE_${rule}`, "off"])),
    };
    machine.said = "";
    await machine.again();
    return machine;
  }

  /** Starts the node, also a second time. */
  async again() {
    this.herd = spawn(HERD, [], { env: this.env, stdio: ["ignore", "ignore", "pipe"] });
    this.herd.stderr.on("data", (data) => (this.said += data));
    await eventually(`${this.name} to answer`, async () => {
      if (this.herd.exitCode !== null) throw new Error(`herd ended: ${this.said}`);
      const status = await this.look("/fleet/self").catch(() => undefined);
      return status?.backends.some((backend) => backend.health === "up");
    });
  }

  async look(path) {
    const response = await fetch(this.url + path);
    if (!response.ok) throw new Error(`${path}: HTTP ${response.status}`);
    return response.json();
  }

  /** Runs a command of `herd` against this node. */
  async command(...words) {
    const { stdout } = await run(HERD, words, { env: this.env });
    return stdout;
  }

  /** Has one machine more join the fleet of this one. */
  async letIn(other) {
    const pairing = spawn(HERD, ["pair", "--yes", "--json"], { env: this.env, stdio: ["ignore", "pipe", "ignore"] });
    const { code, address } = JSON.parse(await firstLine(pairing));
    await other.command("join", code, "--addr", address, "--json");
  }

  /** The address that opens the dashboard signed in, as `herd dashboard` opens it. */
  async signedIn() {
    const { url } = JSON.parse(await this.command("dashboard", "--json"));
    return url.replace("localhost", "127.0.0.1");
  }

  /** The answer of a model, through this machine. */
  async chat(model, more = {}, headers = {}) {
    const body = JSON.stringify({ model, messages: [{ role: "user", content: "Hello." }], stream: false, ...more });
    return fetch(`${this.url}/api/chat`, { method: "POST", headers: { "Content-Type": "application/json", ...headers }, body });
  }

  /** Ends it as a power cut would. */
  kill() {
    this.herd.kill("SIGKILL");
  }

  async stop() {
    for (const program of [this.herd, this.ollama]) {
      if (program.exitCode === null && program.signalCode === null) {
        program.kill("SIGKILL");
        await new Promise((resolve) => program.once("exit", resolve));
      }
    }
    await rm(this.dir, { recursive: true, force: true });
    if (this.said.includes("panicked")) throw new Error(this.said);
  }
}
