/**
 * The gate that every operation of walrust on files, locks and SQLite passes in the simulator. A judge stands
 * at the gate: before an operation the judge may let the application act, let the operation fail, or end the
 * process; after an operation the judge may let a successful operation look failed, or end the process.
 *
 * Invariants:
 * 1. Without a judge, the gate does nothing: the oracles and the restore under test use the same modules.
 * 2. An operation that the judge refuses before its effect has no effect.
 */

/** One operation of walrust. */
export interface Operation {
  /** The call, such as `openSync` or `sqlite BEGIN IMMEDIATE`. */
  readonly call: string;
  /** The path of its file; "" when there is none. */
  readonly path: string;
  /** Whether the operation changes a file. */
  readonly isWrite: boolean;
}

/** Decides over operations. Both methods may throw the error that walrust sees. */
export interface Judge {
  before(operation: Operation): void;
  after(operation: Operation): void;
}

/**
 * Thrown by every operation of a process that has crashed. Nothing that the dead process does has an effect.
 */
export class Crashed extends Error {
  override readonly name = "Crashed";

  constructor() {
    super("the process has crashed");
  }
}

let judge: Judge | null = null;
const resets: (() => void)[] = [];

/** Sets the judge of all further operations; null: every operation passes. */
export function setJudge(next: Judge | null): void {
  judge = next;
}

/** Runs an operation past the judge. */
export function operate<T>(call: string, path: string, isWrite: boolean, work: () => T): T {
  if (judge === null) return work();
  const operation = { call, path, isWrite };
  judge.before(operation);
  const result = work();
  judge?.after(operation);
  return result;
}

/** Registers what a new process finds empty: the module-level state of a source file (seam-edits.ts). */
export function onNewProcess(reset: () => void): void {
  resets.push(reset);
}

/** Empties the module-level state of the sources, as a new process would find it. */
export function resetModules(): void {
  for (const reset of resets) reset();
}
