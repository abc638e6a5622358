/**
 * Runs SQLite's check of a database in a child process of this program, and prints its verdict.
 */
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
import type { IntegrityDocument } from "./documents.ts";
import { dieWithParent, helperCommandOrNull } from "./parent-death.ts";

/**
 * The word that makes this program check one file and exit. Only walrust itself uses it; no help shows it.
 */
export const CHECK_WORD = "__check-database";

/** The checker: a child process of this program, or this process where there is no helper command. */
export function integrityChecker(): IntegrityChecker {
  const command = helperCommandOrNull(CHECK_WORD);
  return command === null ? checkInProcess : checkerInChild(command);
}

/** Runs this program as the helper of the process with the given id. @returns the exit code */
export function runHelper([parent = "", ...words]: readonly string[]): number {
  if (!dieWithParent(Number(parent))) return 1;
  if (words[0] !== COMPILE_WORD) return runCheckChild(words);
  runCompileChild(words.slice(1));
  return 0;
}

/** A live database whose history has just begun. */
export interface NewDatabase {
  readonly name: string;
  readonly path: string;
}

/** Warns of databases that SQLite cannot check on this machine, long before a restore would show it. */
export async function warnOfUncheckable(
  databases: readonly NewDatabase[],
  context: CheckContext,
): Promise<void> {
  const command = helperCommandOrNull(CHECK_WORD);
  if (command === null || databases.length === 0) return;
  const nameOf = new Map(databases.map(({ name, path }) => [path, name]));
  for (const { path, reason } of await findUncheckable(command, [...nameOf.keys()], context)) {
    const message = `SQLite cannot check this database completely: ${reason}`;
    const hint = "Checksums prove its backups; a restore yields the file with this warning";
    context.env.log.warn(message, { database: nameOf.get(path) ?? path, hint });
  }
}

/** Warns once of each new database that SQLite cannot check, in batches and apart from the watch. */
export class NewDatabaseCheck {
  /** Paths of databases at their first TXID, by name. */
  readonly #begun = new Map<string, string>();
  readonly #waiting: NewDatabase[] = [];
  #isChecking = false;

  constructor(readonly context: CheckContext) {}

  /** Receives the events of a watch. The first snapshot of a database makes it a new one. */
  observe(event: WatchEvent): void {
    if (event.event === "watching" && event.txid <= 1) this.#begun.set(event.database, event.path);
    if (event.event !== "uploaded" || event.txid !== 1) return;
    const { database: name } = event;
    const path = this.#begun.get(name);
    this.#begun.delete(name);
    if (path === undefined) return;
    this.#waiting.push({ name, path });
    if (!this.#isChecking) void this.#check();
  }

  async #check(): Promise<void> {
    const { env, signal } = this.context;
    this.#isChecking = true;
    try {
      // Hundreds of databases may begin at once: they share one process.
      await env.sleep(GATHER_MS, signal);
      while (this.#waiting.length > 0) await warnOfUncheckable(this.#waiting.splice(0), this.context);
    } catch (error) {
      env.log.debug(`cannot find out whether SQLite can check new databases: ${errorMessage(error)}`);
    } finally {
      this.#isChecking = false;
    }
  }
}

/** Time in which new databases are gathered for one process. */
const GATHER_MS = 1_000;

/** A verdict as JSON. */
export function verdictJson({ mode, status, problems, unchecked }: IntegrityVerdict): IntegrityDocument {
  return { mode, status: jsonStatus(status), problems, not_checked: unchecked };
}

/** A status in the spelling of JSON. */
export function jsonStatus(status: IntegrityVerdict["status"]): IntegrityDocument["status"] {
  return status === "not-checked" ? "not_checked" : status;
}

/** A verdict in a few words. */
export function verdictText({ mode, status }: IntegrityVerdict): string {
  const check = mode === "quick" ? "quick_check" : "integrity_check";
  switch (status) {
    case "ok":
      return `${check} ok`;
    case "failed":
      return `${check} found faults of the source`;
    case "partial":
      return `${check} ok, as far as SQLite can check this database`;
    case "not-checked":
      return "not checked by SQLite";
    case "skipped":
      return "integrity_check skipped";
  }
}
