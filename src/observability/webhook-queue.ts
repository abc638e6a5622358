/**
 * Delivers the notices of one webhook, one at a time and in order, each with up to three retries.
 *
 * - Replication never waits: `push` is synchronous, and a webhook that hangs delays only its own notices.
 * - At most `QUEUE_MAX` notices wait; then the oldest is dropped.
 * - A failed delivery is logged once, until one succeeds. The URL is a secret: only its scheme and host are
 *   ever shown.
 * - A "recovered" goes only to a webhook that was sent one of the failures that it ends.
 */
import type { WebhookConfig } from "../config/config.ts";
import type { Env } from "../env.ts";
import { type RetryPolicy, withRetry } from "../storage/contract/retry.ts";
import { Trouble } from "../storage/contract/trouble.ts";
import { describeUrl, parseOutgoingUrl, sendRequest } from "./outgoing.ts";
import { type Notice, noticeBody, noticeSignature } from "./webhook-notice.ts";

/** The most notices that wait for one webhook: in an outage, many hundred databases may fail. */
export const QUEUE_MAX = 1_000;
const RETRY: RetryPolicy = { maxRetries: 3, baseDelayMs: 1_000, maxDelayMs: 30_000 };

/** The context that all webhooks of a process share. */
export interface WebhookContext {
  readonly hostname: string;
  readonly version: string;
  readonly env: Env;
  /** Ends every delivery. */
  readonly signal: AbortSignal;
}

/** One webhook. */
export class WebhookQueue {
  readonly #url: URL;
  readonly #events: ReadonlySet<string>;
  readonly #waiting: Notice[] = [];
  /** Failures that were sent, or tried: the webhook may have received them. */
  readonly #tried = new WeakSet<Notice>();
  #run: Promise<void> | null = null;
  readonly #trouble: Trouble;
  #isOverflowing = false;

  /** @throws WalrustError code "config" when the URL is invalid */
  constructor(
    readonly config: WebhookConfig,
    readonly context: WebhookContext,
  ) {
    this.#url = parseOutgoingUrl(config.url, "url of [[webhooks]]");
    this.#events = new Set(config.events);
    const end = `webhook ${describeUrl(this.#url)} accepts notices again`;
    this.#trouble = new Trouble(context.env, {
      what: "cannot deliver a notice to a webhook",
      isFirstOnly: true,
      end,
    });
  }

  /** Queues a notice, if this webhook subscribes to it. */
  push(notice: Notice): void {
    if (!this.#isSubscribed(notice) || this.context.signal.aborted) return;
    if (this.#waiting.length >= QUEUE_MAX) this.#dropOldest();
    this.#waiting.push(notice);
    this.#run ??= this.#deliverAll().finally(() => {
      this.#run = null;
    });
  }

  /** Resolves when no notice waits any more, or after the abort. */
  async done(): Promise<void> {
    await this.#run;
  }

  #isSubscribed(notice: Notice): boolean {
    if (notice.event !== "recovered") return this.#events.has(notice.event);
    return notice.closes.some((closed) => this.#events.has(closed.event));
  }

  #dropOldest(): void {
    this.#waiting.shift();
    if (!this.#isOverflowing) {
      this.context.env.log.warn(
        `webhook ${describeUrl(this.#url)}: more than ${QUEUE_MAX} notices wait; the oldest are dropped`,
      );
    }
    this.#isOverflowing = true;
  }

  async #deliverAll(): Promise<void> {
    const { env, signal } = this.context;
    let notice = this.#waiting.shift();
    for (; notice !== undefined && !signal.aborted; notice = this.#waiting.shift()) {
      await this.#deliver(notice);
      if (signal.aborted) break;
      if (this.#waiting.length === 0) this.#isOverflowing = false;
    }
    const lostCount = this.#waiting.length + (notice === undefined ? 0 : 1);
    if (lostCount === 0) return;
    this.#waiting.length = 0;
    const what = lostCount === 1 ? "a notice was" : `${lostCount} notices were`;
    env.log.warn(`webhook ${describeUrl(this.#url)}: ${what} not delivered before the end`);
  }

  /** Delivers one notice, with retries. Never rejects. */
  async #deliver(notice: Notice): Promise<void> {
    const { env, signal } = this.context;
    const closes = notice.closes.filter((closed) => this.#tried.has(closed));
    if (notice.event === "recovered" && closes.length === 0) return;
    this.#tried.add(notice);
    const body = noticeBody(notice, this.context.hostname, closes);
    try {
      await withRetry({ env, policy: RETRY, signal }, () => this.#post(body));
    } catch (error) {
      if (!signal.aborted) this.#trouble.failed(error);
      return;
    }
    this.#trouble.recovered();
  }

  #post(body: string): Promise<void> {
    const { secret } = this.config;
    const { env, signal, version } = this.context;
    const headers = {
      "content-type": "application/json",
      "user-agent": `walrust/${version}`,
      ...(secret === undefined ? {} : { "x-walrust-signature": noticeSignature(body, secret) }),
    };
    return sendRequest({ method: "POST", url: this.#url, headers, body }, env, signal);
  }
}
