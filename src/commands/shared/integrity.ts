/**
 * How this program starts SQLite's check as a process of its own, and how a verdict is shown.
 */
import { existsSync } from "node:fs";
import { errorMessage } from "../../errors.ts";
import { COMPILE_WORD, findUncheckable, runCompileChild } from "../../recovery/integrity/checkability.ts";
import {
  type CheckContext,
  checkerInChild,
  checkInProcess,
  type IntegrityChecker,
  runCheckChild,
} from "../../recovery/integrity/integrity-child.ts";
import type { IntegrityVerdict } from "../../recovery/integrity/integrity-verdict.ts";
import type { WatchEvent } from "../../replication/context/watch-events.ts";
import { dieWithParent } from "./parent-death.ts";

/** The word that makes this program check one file and end; for its own use, in no help. */
export const CHECK_WORD = "__check-database";

/** The running executable: it stays the same one while a newer version is installed over it. */
const OWN_EXECUTABLE = "/proc/self/exe";

/** The command of this program as a helper of itself, or null where it runs in somebody else's process. */
function helperCommandOrNull(): string[] | null {
  const executable = existsSync(OWN_EXECUTABLE) ? OWN_EXECUTABLE : process.execPath;
  const words = [CHECK_WORD, String(process.pid)];
  if (Bun.main.startsWith("/$bunfs/")) return [executable, ...words];
  // From source it is Bun that runs main.ts. Anything else that imports this is not ours to start again.
  if (Bun.main.endsWith("/src/main.ts")) return [executable, Bun.main, ...words];
  return null;
}

/** The checker of this program: itself, once more. */
export function integrityChecker(): IntegrityChecker {
  const command = helperCommandOrNull();
  return command === null ? checkInProcess : checkerInChild(command);
}

/** What this program does as a helper of itself, for the process of this id. @returns the exit code */
export function runHelper([parent = "", ...words]: readonly string[]): number {
  if (!dieWithParent(Number(parent))) return 1;
  if (words[0] !== COMPILE_WORD) return runCheckChild(words);
  runCompileChild(words.slice(1));
  return 0;
}

/** A live database that is seen for the first time. */
export interface NewDatabase {
  readonly name: string;
  readonly path: string;
}

/** Warns of databases that SQLite cannot check here: better now than at the restore. */
export async function warnOfUncheckable(
  databases: readonly NewDatabase[],
  context: CheckContext,
): Promise<void> {
  const command = helperCommandOrNull();
  if (command === null || databases.length === 0) return;
  const nameOf = new Map(databases.map(({ name, path }) => [path, name]));
  for (const { path, reason } of await findUncheckable(command, [...nameOf.keys()], context)) {
    const message = `SQLite cannot check all of this database here: ${reason}`;
    const hint = "Its copies are proven by checksums; a restore gives the file, with this warning";
    context.env.log.warn(message, { database: nameOf.get(path) ?? path, hint });
  }
}

/** Looks at databases whose history a watch begins: many together, apart from the watch, once each. */
export class FirstSight {
  /** Paths of databases at their first TXID, by name. */
  readonly #begun = new Map<string, string>();
  readonly #waiting: NewDatabase[] = [];
  #isLooking = false;

  constructor(readonly context: CheckContext) {}

  /** Takes in what happens in a watch: the first snapshot of all is the first sight. */
  observe(event: WatchEvent): void {
    if (event.event === "watching" && event.txid <= 1) this.#begun.set(event.database, event.path);
    if (event.event !== "uploaded" || event.txid !== 1) return;
    const { database: name } = event;
    const path = this.#begun.get(name);
    this.#begun.delete(name);
    if (path === undefined) return;
    this.#waiting.push({ name, path });
    if (!this.#isLooking) void this.#look();
  }

  async #look(): Promise<void> {
    const { env, signal } = this.context;
    this.#isLooking = true;
    try {
      // At a start hundreds come at once: they share a process.
      await env.sleep(GATHER_MS, signal);
      while (this.#waiting.length > 0) await warnOfUncheckable(this.#waiting.splice(0), this.context);
    } catch (error) {
      env.log.debug(`cannot look whether SQLite can check new databases: ${errorMessage(error)}`);
    } finally {
      this.#isLooking = false;
    }
  }
}

const GATHER_MS = 1_000;

/** A verdict as JSON. */
export function verdictJson({ mode, status, problems, unchecked }: IntegrityVerdict): unknown {
  return { mode, status: jsonStatus(status), problems, not_checked: unchecked };
}

/** A status as JSON spells it. */
export function jsonStatus(status: IntegrityVerdict["status"]): string {
  return status.replaceAll("-", "_");
}

/** A verdict in a few words. */
export function verdictText({ mode, status }: IntegrityVerdict): string {
  const check = mode === "quick" ? "quick_check" : "integrity_check";
  switch (status) {
    case "ok":
      return `${check} ok`;
    case "failed":
      return `${check} finds faults of the source`;
    case "partial":
      return `${check} ok as far as SQLite can check it here`;
    case "not-checked":
      return "not checked by SQLite";
    case "skipped":
      return "integrity_check left out";
  }
}
