/**
 * The proof at the end of a soak: restores every database past the faults, compares the file with its source
 * byte for byte, and verifies the bucket.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { assertSame, settleDatabase } from "../measure/comparison.ts";
import { describeLog, type Workspace } from "../measure/workspace.ts";
import type { SharedDatabase } from "./application.ts";

/** Starts walrust with these arguments, on the storage without faults. */
export interface Walrust {
  readonly binary: string;
  readonly env: Readonly<Record<string, string>>;
  /** Arguments that name the destination. */
  readonly destination: readonly string[];
}

/** The outcome of all restores and of `walrust verify`. */
export interface RestoreOutcome {
  readonly restoredCount: number;
  readonly failures: readonly string[];
}

const RESTORE_LIMIT_MS = 120_000;
const VERIFY_LIMIT_MS = 900_000;

/** Restores and compares all databases, and verifies the bucket. No process may have a database open. */
export async function restoreAll(
  workspace: Workspace,
  { binary, env, destination }: Walrust,
  databases: readonly SharedDatabase[],
): Promise<RestoreOutcome> {
  const failures: string[] = [];
  const attempt = async (label: string, work: () => Promise<void>): Promise<void> => {
    try {
      await work();
    } catch (error) {
      failures.push(`${label}: ${error instanceof Error ? error.message : error}`);
    }
  };
  for (const { name, path } of databases) {
    const target = join(workspace.folder, `restored-${name}.db`);
    await attempt(`restore of ${name}`, async () => {
      settleDatabase(path);
      const words = [binary, "restore", name, "-o", target, ...destination];
      await workspace.finish(workspace.start("restore", { words, env }), RESTORE_LIMIT_MS);
      assertSame(path, target);
    });
    for (const suffix of ["", "-wal", "-shm"]) rmSync(`${target}${suffix}`, { force: true });
  }
  const restoredCount = databases.length - failures.length;
  await attempt("verify", async () => {
    const child = workspace.start("verify", { words: [binary, "verify", "--all", ...destination], env });
    try {
      await workspace.finish(child, VERIFY_LIMIT_MS);
    } catch {
      throw new Error(`exit code ${child.process.exitCode}; ${describeLog(child)}`);
    }
  });
  return { restoredCount, failures };
}
