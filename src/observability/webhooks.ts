/**
 * Webhooks: from events of watching to notices, each failure told once until it is over.
 *
 * Invariants:
 * 1. Of one outage of a database each kind of failure is told once (that it was given up, once more), and
 *    its end once.
 * 2. Nothing is kept for a database without a failure, or for one that is not watched any more.
 * 3. What is stored (found by validation) and replication fail and recover apart from each other.
 */
import type { WatchEvent } from "../replication/watch-types.ts";
import { type Failure, failureOrNull, type Notice } from "./webhook-notice.ts";
import { type WebhookContext, type WebhookOptions, WebhookQueue } from "./webhook-queue.ts";

/** What can fail and recover by itself. */
type Track = "sync" | "stored";

/** A failure of a database that is not over. */
interface Outage {
  readonly notices: Notice[];
  /** The database was given up: only watching it again ends that. */
  isStopped: boolean;
}

/** Tells webhooks of failures and of their end. */
export class Webhooks {
  readonly #queues: readonly WebhookQueue[];
  readonly #outages = { sync: new Map<string, Outage>(), stored: new Map<string, Outage>() };

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
    const { database } = event;
    if (event.event === "let-go") return this.#forget(database);
    const track: Track = event.event === "validated" ? "stored" : "sync";
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

/** Whether an event that is no failure ends an outage of its track. */
function isEnd(event: WatchEvent, { isStopped }: Outage): boolean {
  if (event.event === "validated") return true;
  return event.event === (isStopped ? "watching" : "recovered");
}
