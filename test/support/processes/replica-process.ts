/** Runs `walrust replicate` from the sources in a child process, which a test may kill at any moment. */
import { Database } from "bun:sqlite";
import { join } from "node:path";
import { cleanEnvironment, untilTestEnds } from "./binary.ts";

/** One line of stdout. */
export interface ReplicaLine {
  readonly event: string;
  readonly txid: number;
  readonly reason?: string | null;
  readonly message?: string;
}

const MAIN = join(import.meta.dir, "../../../src/main.ts");

/** A running process. The end of the test kills the process. */
export class ReplicaProcess {
  readonly events: ReplicaLine[] = [];
  readonly #child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly #output: Promise<void>;
  readonly #log: Promise<string>;

  constructor(source: string, localPath: string) {
    const words = ["replicate", source, "--local", localPath, "--interval", "10ms", "--json"];
    this.#child = untilTestEnds(
      Bun.spawn([process.execPath, MAIN, ...words], {
        env: cleanEnvironment(),
        stdio: ["ignore", "pipe", "pipe"],
      }),
    );
    this.#output = this.#read();
    this.#log = this.#child.stderr.text();
  }

  /** The newest reported TXID. */
  get txid(): number {
    return this.events.findLast(({ event }) => event !== "failed" && event !== "waiting")?.txid ?? 0;
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Sends SIGKILL after a delay, counted from the start of the process or from now. */
  async killAfter(delayMs: number): Promise<void> {
    await Promise.race([Bun.sleep(delayMs), this.#child.exited]);
    this.#child.kill("SIGKILL");
    await this.#child.exited;
    await this.#output;
  }

  /** Sends SIGTERM. @returns the exit code and the log */
  async stop(): Promise<{ exitCode: number; log: string }> {
    this.#child.kill("SIGTERM");
    const exitCode = await this.#child.exited;
    await this.#output;
    return { exitCode, log: await this.#log };
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const chunk of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.events.push(JSON.parse(line) as ReplicaLine);
    }
  }
}

/** The bytes that a new reader sees. */
export function serializeNow(path: string): Buffer {
  const database = new Database(path, { readonly: true });
  try {
    return database.serialize();
  } finally {
    database.close();
  }
}
