/**
 * The application beside walrust: one child process for all runs, spoken to over two FIFOs. Every request
 * blocks until its answer is there.
 */
import { closeSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";

/** A request to the application's process. */
export type AppRequest = { readonly path: string } & (
  | {
      readonly kind: "sql";
      readonly connection: string;
      readonly statements: readonly string[];
      readonly wantsDigest: boolean;
    }
  | { readonly kind: "close"; readonly connections: readonly string[] }
  | { readonly kind: "kill" }
  /** The image that a first connection would see, with or without the -wal, while no connection is open. */
  | { readonly kind: "peek"; readonly hasWal: boolean }
  | { readonly kind: "copy"; readonly to: string }
  | { readonly kind: "remove"; readonly paths: readonly string[] }
  | { readonly kind: "forget" }
);

/** The answer: SQLite's error code or null, the rows of the last statement, the image if it was asked for. */
export interface AppReply {
  readonly code: string | null;
  readonly message: string;
  readonly rows: readonly (readonly unknown[])[];
  readonly digest: string | null;
}

const SCRIPT = join(import.meta.dir, "application-main.ts");
const BUFFER_SIZE = 1 << 16;

/** The running process of the application. */
export class Application {
  readonly #child: Bun.Subprocess;
  readonly #input: number;
  readonly #output: number;
  readonly #buffer = new Uint8Array(BUFFER_SIZE);
  #text = "";

  /** Starts the process. @param folder holds the two FIFOs */
  constructor(folder: string) {
    const paths = ["requests", "replies"].map((name) => join(folder, name));
    for (const path of paths) rmSync(path, { force: true });
    const made = Bun.spawnSync(["mkfifo", ...paths]);
    if (!made.success) throw new Error(`mkfifo failed: ${made.stderr.toString()}`);
    this.#child = Bun.spawn([process.execPath, SCRIPT, ...paths], {
      stdio: ["ignore", "inherit", "inherit"],
    });
    this.#input = openSync(paths[0]!, "w");
    this.#output = openSync(paths[1]!, "r");
  }

  /** Sends a request and waits for its answer. @throws Error when the process is gone */
  ask(request: AppRequest): AppReply {
    writeSync(this.#input, `${JSON.stringify(request)}\n`);
    for (;;) {
      const end = this.#text.indexOf("\n");
      if (end !== -1) {
        const line = this.#text.slice(0, end);
        this.#text = this.#text.slice(end + 1);
        return JSON.parse(line) as AppReply;
      }
      const count = readSync(this.#output, this.#buffer);
      if (count === 0) throw new Error("the application's process is gone");
      this.#text += new TextDecoder().decode(this.#buffer.subarray(0, count));
    }
  }

  /** Ends the process. */
  async stop(): Promise<void> {
    closeSync(this.#input);
    closeSync(this.#output);
    await this.#child.exited;
  }
}
