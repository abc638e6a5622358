/**
 * Webhooks: from events of watching to notices, each failure told once until it is over.
 *
 * Invariants:
 * 1. Of one outage of a database each kind of failure is told once (that it was given up, once more), and
 *    its end once.
 * 2. Nothing is kept for a database without a failure, or for one that is not watched any more.
 * 3. Validation of the stored objects, replication and lasting conditions fail and recover apart from each
 *    other. Conditions that only degrade, and those of the store, are in /health alone.
 */
import type { WatchEvent } from "../replication/context/watch-events.ts";
import { type Failure, failureOrNull, type Notice } from "./webhook-notice.ts";
import { type WebhookContext, type WebhookOptions, WebhookQueue } from "./webhook-queue.ts";

type ConditionEvent = Extract<WatchEvent, { event: "condition" }>;

/** What can fail and recover by itself. */
type Track = "sync" | "stored" | "condition";

/** A failure of a database that is not over. */
interface Outage {
  readonly notices: Notice[];
  /** The database was given up: only watching it again ends that. */
  isStopped: boolean;
}

/** Tells webhooks of failures and of their end. */
export class Webhooks {
  readonly #queues: readonly WebhookQueue[];
  readonly #outages = {
    sync: new Map<string, Outage>(),
    stored: new Map<string, Outage>(),
    condition: new Map<string, Outage>(),
  };
  /** Codes of the unhealthy conditions that last, by database. */
  readonly #conditions = new Map<string, Set<string>>();

  /**
   * @param writerOf the id of a database's writer, or null when it is not known
   * @throws WalrustError with code "config" when a URL is none
   */
  constructor(
    hooks: readonly WebhookOptions[],
    readonly context: WebhookContext,
    readonly writerOf: (database: string) => string | null,
  ) {
    this.#queues = hooks.map((hook) => new WebhookQueue(hook, context));
  }

  /** Takes note of an event. Synchronous; waits for nobody. */
  observe(event: WatchEvent): void {
    if (event.event === "let-go") return this.#forget(event.database);
    const { database } = event;
    if (database === null) return;
    if (event.event === "condition" && !this.#isNewsOfCondition(event, database)) return;
    const track = trackOf(event);
    const outages = this.#outages[track];
    const failure = failureOrNull(event);
    if (failure !== null) {
      const outage = outages.get(database) ?? { notices: [], isStopped: false };
      outages.set(database, outage);
      return this.#fail(database, failure, outage, event.event === "stopped");
    }
    const outage = outages.get(database);
    if (outage === undefined || !isEnd(event, outage)) return;
    outages.delete(database);
    this.#push(this.#notice(database, "recovered", null, 0, outage.notices));
  }

  /** Resolves when every notice was delivered or given up. */
  async done(): Promise<void> {
    await Promise.all(this.#queues.map((queue) => queue.done()));
  }

  /** What is not watched any more has not recovered: nothing is told. */
  #forget(database: string): void {
    for (const outages of Object.values(this.#outages)) outages.delete(database);
    this.#conditions.delete(database);
  }

  /** Notes a condition. @returns whether it is one to tell of, or the end of the last one */
  #isNewsOfCondition({ code, state, health }: ConditionEvent, database: string): boolean {
    const codes = this.#conditions.get(database) ?? new Set();
    if (state === "raised" && health === "unhealthy") {
      this.#conditions.set(database, codes.add(code));
      return true;
    }
    if (!codes.delete(code) || codes.size > 0) return false;
    this.#conditions.delete(database);
    return true;
  }

  #fail(database: string, failure: Failure, outage: Outage, isStop: boolean): void {
    const isNewStop = isStop && !outage.isStopped;
    outage.isStopped ||= isStop;
    if (!isNewStop && outage.notices.some((notice) => notice.event === failure.name)) return;
    const notice = this.#notice(database, failure.name, failure.error, failure.attempts, []);
    outage.notices.push(notice);
    this.#push(notice);
  }

  #push(notice: Notice): void {
    for (const queue of this.#queues) queue.push(notice);
  }

  #notice(
    database: string,
    event: Notice["event"],
    error: string | null,
    attempts: number,
    closes: readonly Notice[],
  ): Notice {
    const timeMs = this.context.env.nowMs();
    return { event, database, error, attempts, timeMs, writer: this.writerOf(database), closes };
  }
}

function trackOf({ event }: WatchEvent): Track {
  if (event === "condition") return "condition";
  return event === "validated" ? "stored" : "sync";
}

/** Whether an event that is no failure ends an outage of its track. */
function isEnd(event: WatchEvent, { isStopped }: Outage): boolean {
  if (event.event === "validated" || event.event === "condition") return true;
  return event.event === (isStopped ? "watching" : "recovered");
}
