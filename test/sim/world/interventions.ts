/**
 * The judge of a run: between any two operations of walrust the seed may let the application act, let an
 * operation fail, or crash the process.
 *
 * Invariants:
 * 1. After a crash every operation throws and has no effect, until `revive`.
 * 2. An action of the application within an operation of walrust never calls walrust.
 */
import { Database, type SQLiteError } from "bun:sqlite";
import { Crashed, type Judge, type Operation } from "../seam/gate.ts";
import type { Chance } from "./chance.ts";
import type { Plan } from "./plan.ts";
import type { Scheduler } from "./scheduler.ts";

/** The fate of one operation. */
type Intervention = "act" | "crash-before" | "crash-after" | "fail-before" | "fail-after" | "short";

/** How long an operation takes, in ms of the monotonic clock. */
const OPERATION_MS = 0.01;

/** Decides between operations. */
export class Interventions implements Judge {
  isDead = false;
  isEnabled = true;
  /** Whether a fault has struck an operation since the last anchor. */
  hasFailed = false;
  /** Operations so far. */
  count = 0;
  #left = 0;
  #pending: "crash-after" | "fail-after" | null = null;
  #isShort = false;
  #isActing = false;

  constructor(
    readonly plan: Plan,
    readonly chance: Chance,
    readonly scheduler: Scheduler,
    /** Lets the application act. */
    readonly act: () => void,
  ) {
    this.#next();
  }

  /** A new process lives. */
  revive(): void {
    this.isDead = false;
    this.#pending = null;
    this.#isShort = false;
  }

  before(operation: Operation): void {
    if (this.isDead) throw new Crashed();
    if (this.#isActing) return;
    this.count++;
    this.scheduler.pass(OPERATION_MS);
    this.scheduler.trace.note(() => `    ${operation.call} ${shortPath(operation.path)}`);
    if (!this.isEnabled || --this.#left > 0) return;
    this.#next();
    this.#intervene(operation);
  }

  after(operation: Operation): void {
    const pending = this.#pending;
    this.#pending = null;
    this.#isShort = false;
    if (pending === "crash-after") this.#crash(operation);
    if (pending === "fail-after") this.#fail(operation, "EIO");
  }

  /** The number of bytes that the write under way takes. */
  shortened(length: number): number {
    return this.#isShort && length > 1 ? this.chance.between(1, length - 1) : length;
  }

  /** The process blocks its thread: the application may act. */
  blocked(): void {
    if (this.isDead || this.#isActing || !this.isEnabled) return;
    if (this.chance.is(0.3)) this.#actNow();
  }

  #intervene(operation: Operation): void {
    const { mayCrash, mayFailDisk } = this.plan;
    const errors = mayFailDisk ? errorsOf(operation) : [];
    const mayFail = errors.length > 0;
    const fate = this.chance.weighted<Intervention>([
      [20, "act"],
      [mayCrash ? 1 : 0, "crash-before"],
      [mayCrash ? 1 : 0, "crash-after"],
      [mayFail ? 8 : 0, "fail-before"],
      // An open that fails leaves no descriptor.
      [mayFail && operation.isWrite && operation.call !== "openSync" ? 4 : 0, "fail-after"],
      [mayFail && operation.call === "writeSync" ? 8 : 0, "short"],
    ]);
    if (fate === "act") this.#actNow();
    if (fate === "crash-before") this.#crash(operation);
    if (fate === "fail-before") this.#fail(operation, this.chance.of(errors));
    if (fate === "crash-after" || fate === "fail-after") this.#pending = fate;
    if (fate === "short") this.#isShort = true;
  }

  #actNow(): void {
    this.#isActing = true;
    try {
      this.act();
    } finally {
      this.#isActing = false;
    }
  }

  #crash({ call, path }: Operation): never {
    this.isDead = true;
    this.scheduler.trace.add(`  crash at ${call} ${shortPath(path)} (operation ${this.count})`);
    throw new Crashed();
  }

  #fail({ call, path }: Operation, code: string): never {
    this.hasFailed = true;
    this.scheduler.trace.add(`  ${code} at ${call} ${shortPath(path)} (operation ${this.count})`);
    throw systemError(code, call, path);
  }

  #next(): void {
    this.#left = Math.ceil(this.chance.wait(this.plan.interventionMean));
  }
}

/** The errors that each call may end with. Attributes of files and closes never fail on a local disk. */
const ERRORS: Readonly<Record<string, readonly string[]>> = {
  openSync: ["EMFILE", "EIO"],
  readSync: ["EIO"],
  writeSync: ["EIO", "ENOSPC"],
  renameSync: ["EIO", "ENOSPC"],
  mkdirSync: ["EIO", "ENOSPC"],
  ftruncateSync: ["EIO"],
  fsyncSync: ["EIO"],
  fdatasyncSync: ["EIO"],
  readdirSync: ["EIO", "EMFILE"],
  unlinkSync: ["EIO"],
  rmSync: ["EIO"],
};

/** The errors that an operation may end with. */
export function errorsOf({ call }: Operation): readonly string[] {
  const isQuery = call.startsWith("sqlite") && !/close|ROLLBACK/.test(call);
  return isQuery ? ["EIO", "ENOSPC"] : (ERRORS[call] ?? []);
}

/** The error of an operation as the system gives it. */
export function systemError(code: string, call: string, path: string): Error {
  if (call.startsWith("sqlite")) return sqliteError(code === "ENOSPC" ? "SQLITE_FULL" : "SQLITE_IOERR");
  return Object.assign(new Error(`${code}: injected, ${call} '${path}'`), { code, syscall: call, path });
}

/** A real error of SQLite with another code: its class cannot be made by hand. */
function sqliteError(code: string): SQLiteError {
  const database = new Database(":memory:");
  try {
    database.run("SELECT injected");
  } catch (error) {
    const text = { value: `${code}: injected`, configurable: true };
    return Object.defineProperties(error as SQLiteError, { code: { ...text, value: code }, message: text });
  } finally {
    database.close();
  }
  throw new Error("SQLite accepted a statement that is none");
}

/** The last two names of a path, without what another process would choose otherwise. */
export function shortPath(path: string): string {
  return path
    .split("/")
    .slice(-2)
    .join("/")
    .replace(/\.[0-9a-f]{16}\.tmp$/, ".tmp")
    .replace(/\bwalrust-(sim-)?[A-Za-z0-9]{6}(?=\/|$)/, "walrust-$1…")
    .replace(/\bwalrust-\d+-[0-9a-f]+\.sock$/, "walrust-….sock");
}
