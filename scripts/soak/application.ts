/**
 * The application of a soak: up to four processes (application-main.ts) that share the databases. Each
 * process also makes the checkpoints of another process's databases.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Child, readLog, type Workspace, waitUntil } from "../measure/workspace.ts";
import { bunCommand } from "../toolchain.ts";
import type { DatabasePlan } from "./load-plan.ts";

/** Options of one process. */
export interface ShareOptions {
  /** Databases that the process writes to. */
  readonly databases: readonly SharedDatabase[];
  /** Databases of another process that this process checkpoints. */
  readonly checkpointed: readonly SharedDatabase[];
  readonly seed: number;
}

/** A database with its place. */
export interface SharedDatabase extends DatabasePlan {
  readonly path: string;
}

/** Counts of what the application did; `busy` counts actions that SQLite refused as busy or locked. */
export type ActionCounts = Readonly<
  Record<"commit" | "large" | "vacuum" | "reopen" | "checkpoint" | "blocked" | "busy", number>
>;

const MAX_PROCESSES = 4;
const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 60_000;

/** Starts the application, and waits until it has opened all databases. */
export async function startApplication(
  workspace: Workspace,
  databases: readonly SharedDatabase[],
  seed: number,
): Promise<Child[]> {
  const shareCount = Math.min(MAX_PROCESSES, databases.length);
  const shareOf = (share: number): SharedDatabase[] =>
    databases.filter((_, index) => index % shareCount === share % shareCount);
  const children = Array.from({ length: shareCount }, (_, share) => {
    const options: ShareOptions = {
      ...{ databases: shareOf(share), checkpointed: shareOf(share + 1), seed: seed + share },
    };
    const optionsPath = join(workspace.folder, `application-${share}.json`);
    writeFileSync(optionsPath, JSON.stringify(options));
    const program = join(import.meta.dir, "application-main.ts");
    return workspace.start("application", { words: bunCommand(program, optionsPath), env: {} });
  });
  await waitUntil(children, "the application", START_LIMIT_MS, () =>
    children.every((child) => readLog(child).includes("ready")),
  );
  return children;
}

/** Stops the application; all connections are closed. @throws Error when a process failed */
export async function stopApplication(
  workspace: Workspace,
  children: readonly Child[],
): Promise<ActionCounts> {
  await Promise.all(children.map((child) => workspace.stop(child, STOP_LIMIT_MS)));
  return addCounts(
    children.map((child) => JSON.parse(readLog(child).trimEnd().split("\n").at(-1) ?? "") as ActionCounts),
  );
}

/** The counts of all processes together. */
export function addCounts(parts: readonly ActionCounts[]): ActionCounts {
  const sum = { commit: 0, large: 0, vacuum: 0, reopen: 0, checkpoint: 0, blocked: 0, busy: 0 };
  for (const part of parts) {
    for (const name of Object.keys(sum) as (keyof ActionCounts)[]) sum[name] += part[name];
  }
  return sum;
}
