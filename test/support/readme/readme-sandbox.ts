/**
 * Sandbox for the examples of the READMEs: a folder with the built executable first on PATH, an S3 server in
 * this process behind `s3://my-bucket`, and bash. Runs a text as written, except for SUBSTITUTIONS.
 */
import { afterEach } from "bun:test";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../eventually.ts";
import { cleanEnvironment, type Run, type Variables, walrustBinary } from "../processes/binary.ts";
import { peerPath } from "../servers/peers.ts";
import { S3Server } from "../servers/s3-server.ts";
import { tempFolder } from "../temp.ts";
import { blockOf } from "./readme-blocks.ts";

/** Replacements for the invented places and points of the READMEs. */
export interface Replacements {
  /** The folder that stands for the root of the machine. */
  readonly root: string;
  /** The S3 server. */
  readonly endpoint: string;
  /** A time that exists in the history. */
  readonly time: string;
  /** A TXID that exists in the history. */
  readonly txid: number;
}

/** Replaced parts of an example; each has a reason and occurs in a README. */
export const SUBSTITUTIONS: readonly {
  readonly found: RegExp;
  readonly why: string;
  readonly by: (to: Replacements) => string;
}[] = [
  {
    found: /(?<=file:\/\/)\/tmp\/(?=walrust-backup)/g,
    why: "a test writes nothing outside of the sandbox",
    by: ({ root }) => `${root}/tmp/`,
  },
  {
    found: /(?<=")\/(?=(var\/lib|data|run\/secrets)\/)/g,
    why: "these folders belong to the machine",
    by: ({ root }) => `${root}/`,
  },
  {
    found: /https:\/\/fly\.storage\.tigris\.dev/g,
    why: "no test leaves the machine",
    by: ({ endpoint }) => endpoint,
  },
  {
    found: /2026-03-01T12:00:00Z/g,
    why: "no history holds the time of the text",
    by: ({ time }) => time,
  },
  { found: /(?<=txid:)41/g, why: "no history holds the TXID of the text", by: ({ txid }) => String(txid) },
];

/** Keys of the S3 server. */
const KEYS = { accessKeyId: "readme-key", secretAccessKey: "readme-secret" };

const RUN_LIMIT_MS = 20_000;

const sandboxes = new Set<Sandbox>();

afterEach(async () => {
  await Promise.all([...sandboxes].map((sandbox) => sandbox.close()));
  sandboxes.clear();
});

/** A running block. */
export interface RunningBlock {
  /** Output so far: stdout, then stderr. */
  readonly said: () => string;
  /** Waits until a condition holds. @throws Error when the block ends first, or at the time limit */
  until(label: string, condition: () => boolean): Promise<void>;
  /** Sends SIGTERM to the running walrust; the block continues with its next line. */
  terminate(): void;
  /** Waits for the end of the block. @throws Error for another exit code, or at the time limit */
  end(exitCode?: number): Promise<Run>;
}

/** A sandbox; the end of the test removes it and ends its processes. */
export class Sandbox {
  /** Names of the `sh` blocks that ran. */
  readonly ran: string[] = [];
  readonly root = tempFolder("readme");
  /** Working folder of the examples. */
  readonly home = join(this.root, "home");
  /** Replacements for the invented points of the text; a story sets them from its history. */
  time = "2026-03-01T12:00:00Z";
  txid = 41;
  readonly #children = new Set<Bun.Subprocess>();

  private constructor(
    readonly server: S3Server,
    readonly variables: Variables,
  ) {}

  /**
   * Makes a sandbox with its own empty bucket `my-bucket`.
   * @param variables environment, instead of the endpoint and the keys of S3
   */
  static async open(variables?: Variables): Promise<Sandbox> {
    const server = await S3Server.start({ ...KEYS, buckets: ["my-bucket"] });
    const sandbox = new Sandbox(server, variables ?? s3Variables(server));
    sandboxes.add(sandbox);
    const bin = join(sandbox.root, "bin");
    for (const folder of [bin, sandbox.home]) mkdirSync(folder);
    symlinkSync(await walrustBinary(), join(bin, "walrust"));
    symlinkSync(peerPath("sqlite3"), join(bin, "sqlite3"));
    // bash (through BASH_ENV) survives a SIGTERM to its group; its children do not inherit the trap.
    writeFileSync(join(sandbox.root, "trap.sh"), "trap : TERM\n");
    return sandbox;
  }

  /** Kills running blocks and stops the server. */
  async close(): Promise<void> {
    for (const child of this.#children) signalGroup(child, "SIGKILL");
    await Promise.all([...this.#children].map((child) => child.exited));
    this.server.stop();
  }

  /** Environment of a program in the sandbox. */
  get environment(): Record<string, string> {
    const variables = cleanEnvironment({ ...this.variables, HOME: this.home });
    const path = `${join(this.root, "bin")}:${variables["PATH"]}`;
    return { ...variables, PATH: path, BASH_ENV: join(this.root, "trap.sh") };
  }

  /** A text with all substitutions. */
  substituted(text: string): string {
    const { root, time, txid, server } = this;
    const to = { root, time, txid, endpoint: server.url };
    return SUBSTITUTIONS.reduce((rest, { found, by }) => rest.replaceAll(found, by(to)), text);
  }

  /** Runs a `sh` block to its end. @throws Error when a line of it fails */
  async run(name: string): Promise<Run> {
    return this.start(name).end();
  }

  /** Starts a `sh` block; the caller ends it. */
  start(name: string): RunningBlock {
    return this.spawn(this.textOf(name), name);
  }

  /** Lines of a `sh` block with failing lines, for a test that runs the lines one by one. */
  linesOf(name: string): string[] {
    return this.textOf(name).trimEnd().split("\n");
  }

  /** Text of a `sh` block; records the block as run. */
  textOf(name: string): string {
    this.ran.push(name);
    return this.substituted(blockOf("sh", name).text);
  }

  /** Runs the test's own script in the sandbox. @throws Error when a line of it fails */
  async script(text: string): Promise<Run> {
    return this.spawn(text).end();
  }

  /** Runs a script that prints one JSON document. */
  async json(text: string): Promise<unknown> {
    return JSON.parse((await this.script(text)).stdout) as unknown;
  }

  /** Starts a script; bash ends at the first line that fails. */
  spawn(text: string, label = text): RunningBlock {
    const child = Bun.spawn(["bash", "-e", "-c", text], {
      cwd: this.home,
      env: this.environment,
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    this.#children.add(child);
    return runningBlock(child, label);
  }
}

function runningBlock(child: Bun.Subprocess<"ignore", "pipe", "pipe">, label: string): RunningBlock {
  const output = { stdout: "", stderr: "" };
  const said = (): string => output.stdout + output.stderr;
  const read = async (from: "stdout" | "stderr"): Promise<void> => {
    for await (const chunk of child[from].pipeThrough(new TextDecoderStream())) output[from] += chunk;
  };
  const ended = Promise.all([read("stdout"), read("stderr"), child.exited]);
  return {
    said,
    until: async (what, condition) =>
      eventually(`${what} of ${label}`, async () => {
        const isOver = child.exitCode !== null;
        if (isOver && !condition()) throw new Error(`${label} ended before ${what}\n${said()}`);
        return isOver || condition();
      }),
    terminate: () => signalGroup(child, "SIGTERM"),
    end: async (expected = 0) => {
      const limit = setTimeout(() => signalGroup(child, "SIGKILL"), RUN_LIMIT_MS);
      const [, , exitCode] = await ended;
      clearTimeout(limit);
      if (exitCode === expected) return { exitCode, ...output };
      const how = child.signalCode === null ? `ended with ${exitCode}` : "did not end in time";
      throw new Error(`${label} ${how}\n${said()}`);
    },
  };
}

function s3Variables(server: S3Server): Variables {
  return {
    AWS_ENDPOINT_URL_S3: server.url,
    AWS_ACCESS_KEY_ID: KEYS.accessKeyId,
    AWS_SECRET_ACCESS_KEY: KEYS.secretAccessKey,
  };
}

function signalGroup(child: Bun.Subprocess, signal: "SIGTERM" | "SIGKILL"): void {
  try {
    process.kill(-child.pid, signal);
  } catch {
    // The whole group has ended.
  }
}
