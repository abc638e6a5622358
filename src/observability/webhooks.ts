/**
 * Sends the failures of databases to webhooks: each once, and its end once.
 *
 * Invariants:
 * 1. In one outage of a database each kind of failure is sent once, and once more if the database stops. One
 *    "recovered" ends the outage.
 * 2. Nothing is kept for a database without a failure, or for one that is no longer watched.
 * 3. Replication, validation of the stored objects, and conditions fail and recover apart from each other.
 *    Degraded conditions, and conditions of the store, appear in /health alone.
 */
import type { WebhookConfig } from "../config/config.ts";
import type { WatchEvent } from "../replication/context/watch-events.ts";
import { type Failure, failureOrNull, type Notice } from "./webhook-notice.ts";
import { type WebhookContext, WebhookQueue } from "./webhook-queue.ts";

type ConditionEvent = Extract<WatchEvent, { event: "condition" }>;

/** The kinds of failures that recover apart from each other. */
type Track = "sync" | "stored" | "condition";

/** The failures of a database on one track, until they are over. */
interface Outage {
  readonly notices: Notice[];
  /** The database is stopped: the outage lasts until it is watched again. */
  isStopped: boolean;
}

/** The webhooks of one process. */
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
   * @param writerOf the writer id of a database, or null while it is unknown
   * @throws WalrustError code "config" when a URL is invalid
   */
  constructor(
    hooks: readonly WebhookConfig[],
    readonly context: WebhookContext,
    readonly writerOf: (database: string) => string | null,
  ) {
    this.#queues = hooks.map((hook) => new WebhookQueue(hook, context));
  }

  /** Turns an event into notices. Synchronous; waits for nothing. */
  observe(event: WatchEvent): void {
    if (event.event === "let-go") return this.#forget(event.database);
    const { database } = event;
    if (database === null) return;
    if (event.event === "condition" && !this.#isConditionNews(event, database)) return;
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

  /** Resolves when every notice was delivered or dropped. */
  async done(): Promise<void> {
    await Promise.all(this.#queues.map((queue) => queue.done()));
  }

  /** A database that is no longer watched has not recovered: its failures end without a notice. */
  #forget(database: string): void {
    for (const outages of Object.values(this.#outages)) outages.delete(database);
    this.#conditions.delete(database);
  }

  /** Records a condition. @returns whether it is an unhealthy one, or the end of the last unhealthy one */
  #isConditionNews({ code, state, health }: ConditionEvent, database: string): boolean {
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
