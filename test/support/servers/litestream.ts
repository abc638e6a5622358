/** Litestream beside walrust: it restores walrust's backups, and it writes backups that walrust restores. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { cleanEnvironment, collect, untilTestEnds, type Variables } from "../processes/binary.ts";
import type { TestDestination } from "./destinations.ts";
import { peerPath } from "./peers.ts";

/** A point of Litestream: a TXID, a time, or the newest. A timestamp takes only files strictly before it. */
export type LitestreamPoint = { readonly txid: number } | { readonly timestamp: string } | null;

/**
 * Runs `litestream restore` for a database of a destination.
 * @throws Error with the output if the restore fails
 */
export async function litestreamRestore(
  destination: TestDestination,
  name: string,
  output: string,
  point: LitestreamPoint = null,
): Promise<void> {
  const words = ["restore", "-o", output, ...pointWords(point), destination.litestreamUrl(name)];
  const child = spawnLitestream(words, destination.env);
  const run = await collect(child, "litestream restore");
  if (run.exitCode === 0) return;
  throw new Error(`litestream ${words.join(" ")} ended with ${run.exitCode}\n${run.stderr}${run.stdout}`);
}

function pointWords(point: LitestreamPoint): string[] {
  if (point === null) return [];
  if ("timestamp" in point) return ["-timestamp", point.timestamp];
  return ["-txid", point.txid.toString(16).padStart(16, "0")];
}

/** A running `litestream replicate`. The end of the test kills Litestream. */
export class Litestream {
  readonly #child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly #output: Promise<[string, string]>;

  private constructor(child: Bun.Subprocess<"ignore", "pipe", "pipe">) {
    this.#child = child;
    this.#output = Promise.all([child.stdout.text(), child.stderr.text()]);
  }

  /**
   * Replicates a database to `name` of a destination as frequently as Litestream can: a file at once, a
   * compaction to level 1 each second, a snapshot every three seconds.
   */
  static start(database: string, destination: TestDestination, name: string, folder: string): Litestream {
    const config = join(folder, "litestream.yml");
    writeFileSync(
      config,
      [
        "snapshot: { interval: 3s, retention: 1h }",
        "levels: [{ interval: 1s }]",
        "l0-retention: 1h",
        "dbs:",
        `  - path: ${database}`,
        "    monitor-interval: 20ms",
        "    replica:",
        `      url: "${destination.litestreamUrl(name)}"`,
        "      sync-interval: 20ms",
        "",
      ].join("\n"),
    );
    return new Litestream(spawnLitestream(["replicate", "-config", config], destination.env));
  }

  /**
   * Sends SIGTERM and waits until everything is replicated.
   * @throws Error with the output if Litestream failed
   */
  async stop(): Promise<void> {
    this.#child.kill("SIGTERM");
    const exitCode = await this.#child.exited;
    if (exitCode !== 0)
      throw new Error(`litestream ended with ${exitCode}\n${(await this.#output).join("")}`);
  }
}

function spawnLitestream(words: readonly string[], env: Variables): Bun.Subprocess<"ignore", "pipe", "pipe"> {
  return untilTestEnds(
    Bun.spawn([peerPath("litestream"), ...words], {
      env: cleanEnvironment(env),
      stdio: ["ignore", "pipe", "pipe"],
    }),
  );
}
