/**
 * Where an example of README.md runs: a folder of its own with the built executable first on PATH, an S3
 * server in this process behind `s3://my-bucket`, and bash. The text runs as it stands there, but for
 * SUBSTITUTIONS.
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

/** What the README's invented places and points become. */
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

/** What is replaced in an example before it runs: each needs a reason, and has to occur in the README. */
export const SUBSTITUTIONS: readonly {
  readonly found: RegExp;
  readonly why: string;
  readonly by: (to: Replacements) => string;
}[] = [
  {
    found: /(?<=file:\/\/)\/tmp\/(?=walrust-backup)/g,
    why: "nothing is written outside of the sandbox",
    by: ({ root }) => `${root}/tmp/`,
  },
  {
    found: /(?<=")\/(?=(var\/lib|data|run\/secrets)\/)/g,
    why: "these folders are the machine's",
    by: ({ root }) => `${root}/`,
  },
  {
    found: /https:\/\/fly\.storage\.tigris\.dev/g,
    why: "no test leaves the machine",
    by: ({ endpoint }) => endpoint,
  },
  {
    found: /2026-03-01T12:00:00Z/g,
    why: "the text's point in time is in nobody's history",
    by: ({ time }) => time,
  },
  { found: /(?<=txid:)41/g, why: "neither is its TXID", by: ({ txid }) => String(txid) },
];

/** The keys that the server takes. */
const KEYS = { accessKeyId: "readme-key", secretAccessKey: "readme-secret" };

const RUN_LIMIT_MS = 20_000;

const sandboxes = new Set<Sandbox>();

afterEach(async () => {
  await Promise.all([...sandboxes].map((sandbox) => sandbox.close()));
  sandboxes.clear();
});

/** A block that runs. */
export interface RunningBlock {
  /** What it has written so far, to stdout and to stderr. */
  readonly said: () => string;
  /** Waits until a condition holds. @throws Error when the block ends before that, or it takes too long */
  until(label: string, condition: () => boolean): Promise<void>;
  /** SIGTERM to the walrust that runs in it: the block goes on after that. */
  terminate(): void;
  /** Waits for its end. @throws Error when it has another exit code, or takes too long */
  end(exitCode?: number): Promise<Run>;
}

/** One sandbox; gone, with everything that runs in it, when the test ends. */
export class Sandbox {
  /** The names of the `sh` blocks that were run. */
  readonly ran: string[] = [];
  readonly root = tempFolder("readme");
  /** Where the examples are typed. */
  readonly home = join(this.root, "home");
  /** What the invented points of the text become; a story sets them when it has a history. */
  time = "2026-03-01T12:00:00Z";
  txid = 41;
  readonly #children = new Set<Bun.Subprocess>();

  private constructor(
    readonly server: S3Server,
    readonly variables: Variables,
  ) {}

  /**
   * Makes one with its own empty bucket `my-bucket`.
   * @param variables instead of those that say where S3 is and with which keys
   */
  static async open(variables?: Variables): Promise<Sandbox> {
    const server = await S3Server.start({ ...KEYS, buckets: ["my-bucket"] });
    const sandbox = new Sandbox(server, variables ?? s3Variables(server));
    sandboxes.add(sandbox);
    const bin = join(sandbox.root, "bin");
    for (const folder of [bin, sandbox.home]) mkdirSync(folder);
    symlinkSync(await walrustBinary(), join(bin, "walrust"));
    symlinkSync(peerPath("sqlite3"), join(bin, "sqlite3"));
    // bash lives on when walrust is told to end (BASH_ENV), and its children are not touched by that.
    writeFileSync(join(sandbox.root, "trap.sh"), "trap : TERM\n");
    return sandbox;
  }

  /** Ends what still runs. */
  async close(): Promise<void> {
    for (const child of this.#children) signalGroup(child, "SIGKILL");
    await Promise.all([...this.#children].map((child) => child.exited));
    this.server.stop();
  }

  /** What surrounds a program in it. */
  get environment(): Record<string, string> {
    const variables = cleanEnvironment({ ...this.variables, HOME: this.home });
    const path = `${join(this.root, "bin")}:${variables["PATH"]}`;
    return { ...variables, PATH: path, BASH_ENV: join(this.root, "trap.sh") };
  }

  /** A text of the README as it is run here. */
  substituted(text: string): string {
    const { root, time, txid, server } = this;
    const to = { root, time, txid, endpoint: server.url };
    return SUBSTITUTIONS.reduce((rest, { found, by }) => rest.replaceAll(found, by(to)), text);
  }

  /** Runs a `sh` block to its end. @throws Error when a line of it fails */
  async run(name: string): Promise<Run> {
    return this.start(name).end();
  }

  /** Starts a `sh` block that has to be ended. */
  start(name: string): RunningBlock {
    return this.spawn(this.textOf(name), name);
  }

  /** The lines of a `sh` block, for one that is typed line by line because some are meant to fail. */
  linesOf(name: string): string[] {
    return this.textOf(name).trimEnd().split("\n");
  }

  /** The text of a `sh` block, which counts as run. */
  textOf(name: string): string {
    this.ran.push(name);
    return this.substituted(blockOf("sh", name).text);
  }

  /** Runs a script of the test's own, with the same surroundings. @throws Error when a line of it fails */
  async script(text: string): Promise<Run> {
    return this.spawn(text).end();
  }

  /** As `script`, one JSON document that it prints. */
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
    // All of the group has ended.
  }
}
