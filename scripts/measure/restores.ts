/**
 * The proof at the end of a run: restores every database past the faults, compares the file with its source
 * byte for byte, and verifies the bucket. A warning of `walrust verify` is reported and no failure: faults
 * may leave an object that nothing needs.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { assertSame, settleDatabase } from "./comparison.ts";
import { describeLog, readLog, type Workspace } from "./workspace.ts";

/** A database with its name in the bucket. */
export interface SourceDatabase {
  readonly name: string;
  readonly path: string;
}

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
  /** Findings of `walrust verify` that no restore depends on, such as an object that was not deleted. */
  readonly warnings: readonly string[];
}

const RESTORE_LIMIT_MS = 120_000;
const VERIFY_LIMIT_MS = 900_000;
/** Exit code of `walrust verify` for warnings alone. */
const WARNINGS_EXIT = 1;

/** Restores and compares all databases, and verifies the bucket. No process may have a database open. */
export async function restoreAll(
  workspace: Workspace,
  { binary, env, destination }: Walrust,
  databases: readonly SourceDatabase[],
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
  const verification = await verifyAll(workspace, { binary, env, destination });
  return {
    restoredCount,
    failures: [...failures, ...verification.failures],
    warnings: verification.warnings,
  };
}

/** Runs `walrust verify --all`. */
export async function verifyAll(
  workspace: Workspace,
  { binary, env, destination }: Walrust,
): Promise<Pick<RestoreOutcome, "failures" | "warnings">> {
  const child = workspace.start("verify", { words: [binary, "verify", "--all", ...destination], env });
  try {
    await workspace.finish(child, VERIFY_LIMIT_MS);
    return { failures: [], warnings: [] };
  } catch {
    const findings = findingsOf(readLog(child));
    if (child.process.exitCode === WARNINGS_EXIT) return { failures: [], warnings: findings };
    const summary = `verify: exit code ${child.process.exitCode}; ${describeLog(child)}`;
    return { failures: [summary, ...findings], warnings: [] };
  }
}

/** The lines of findings in the output of `walrust verify`, each with the name of its database. */
export function findingsOf(output: string): string[] {
  let database = "";
  const findings: string[] = [];
  for (const line of output.split("\n")) {
    database = line.match(/^(\S+) in \S+$/)?.[1] ?? database;
    const finding = line.match(/^ {2}((?:WARNING|ERROR) .*)$/)?.[1];
    if (finding !== undefined) findings.push(`${database}: ${finding}`);
  }
  return findings;
}
