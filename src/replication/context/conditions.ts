/**
 * The conditions of one database, or of the store and the machine that all databases share: lasting states,
 * such as a WAL under another name or a bucket that refuses deletes. `/health` lists each condition until it
 * ends.
 *
 * Invariants:
 * 1. The begin and the end of a condition are logged once, however often the condition is raised in between.
 * 2. A condition is logged again when its health changes, and not when only its wording changes.
 * 3. Nothing is allocated for a database without conditions: hundreds are watched.
 */
import type { Env } from "../../env.ts";
import type { Condition, ConditionCode, ConditionSink } from "../../errors.ts";
import type { WatchEvent } from "./watch-events.ts";

const NONE: readonly Condition[] = [];

/** A set of conditions, at most one for each code. */
export class Conditions implements ConditionSink {
  #current: Map<string, Condition> | null = null;

  /** @param database the name, or null for what all databases share */
  constructor(
    readonly database: string | null,
    readonly env: Pick<Env, "log">,
    readonly emit: (event: WatchEvent) => void,
  ) {}

  /** The present conditions, oldest first. */
  get current(): readonly Condition[] {
    return this.#current === null ? NONE : [...this.#current.values()];
  }

  /** Whether there is a condition with this code. */
  has(code: ConditionCode): boolean {
    return this.#current?.has(code) === true;
  }

  raise(condition: Condition): void {
    const { code, health, message, hint } = condition;
    const before = this.#current?.get(code);
    this.#current ??= new Map();
    this.#current.set(code, condition);
    if (before?.health === health) return;
    const fields = { ...this.#fields, ...(hint === undefined ? {} : { hint }) };
    if (health === "unhealthy") this.env.log.error(message, fields);
    else this.env.log.warn(message, fields);
    this.emit({ event: "condition", state: "raised", database: this.database, code, health, message });
  }

  clear(code: ConditionCode): void {
    const before = this.#current?.get(code);
    if (before === undefined) return;
    this.#current?.delete(code);
    if (this.#current?.size === 0) this.#current = null;
    const { health, message } = before;
    this.env.log.info(`condition ${code} ended: ${message}`, this.#fields);
    this.emit({ event: "condition", state: "cleared", database: this.database, code, health, message });
  }

  get #fields(): { database?: string } {
    return this.database === null ? {} : { database: this.database };
  }
}
