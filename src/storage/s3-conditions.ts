/**
 * The lasting states of a store that an operator should know of: something else answers in its place, it does
 * not enforce create-only writes, it refuses deletes. Begin and end of each are reported once.
 */
import type { Env } from "../env.ts";
import type { ConditionSink, WalrustError } from "../errors.ts";
import { isNotTheStore, strangeAnswerOf } from "./s3-answer.ts";
import { s3CodeOf } from "./s3-errors.ts";
import { isWeak, type KeptKey, type StoreCapabilities } from "./store.ts";

/** Answers in a row that are not the store's, before that counts as a state. */
const STRANGE_ANSWERS_MIN = 2;
/** Refused deletes are over when none was refused for this long: a retention refuses some and not others. */
const REFUSAL_FORGOTTEN_MS = 25 * 3_600_000;

const NOT_THE_STORE = "not-the-store";
const WEAK_WRITES = "weak-writes";
const DELETES_REFUSED = "deletes-refused";

/** The conditions of one store. */
export class S3Conditions {
  readonly #sink: ConditionSink;
  readonly #env: Pick<Env, "monotonicMs">;
  readonly #url: string;
  #strangeAnswers = 0;
  #refusedAtMs: number | null = null;

  constructor(sink: ConditionSink, env: Pick<Env, "monotonicMs">, url: string) {
    this.#sink = sink;
    this.#env = env;
    this.#url = url;
  }

  /** Runs a request and takes note of who answered. */
  async judged<T>(request: () => Promise<T>): Promise<T> {
    try {
      const result = await request();
      this.#answered();
      return result;
    } catch (error) {
      if (isNotTheStore(error)) this.#answeredByOther(error);
      else if (s3CodeOf(error) !== "") this.#answered();
      throw error;
    }
  }

  #answered(): void {
    if (this.#strangeAnswers >= STRANGE_ANSWERS_MIN) this.#sink.clear(NOT_THE_STORE);
    this.#strangeAnswers = 0;
  }

  #answeredByOther(error: WalrustError): void {
    const { hint } = error;
    this.#strangeAnswers++;
    if (this.#strangeAnswers < STRANGE_ANSWERS_MIN) return;
    this.#sink.raise({
      code: NOT_THE_STORE,
      health: "unhealthy",
      message: `something else answers in place of ${this.#url}: ${strangeAnswerOf(error)}`,
      ...(hint === undefined ? {} : { hint }),
    });
  }

  /** A probe or a put told what the store enforces. */
  learned(capabilities: StoreCapabilities): void {
    if (!isWeak(capabilities)) return this.#sink.clear(WEAK_WRITES);
    const isAll = capabilities.conditionalPut === "no";
    const what = isAll ? "create-only writes" : "create-only writes of objects above 16 MB";
    this.#sink.raise({
      code: WEAK_WRITES,
      health: "degraded",
      message: `the store does not enforce ${what}: a second writer is noticed late`,
      hint: "Let only one walrust replicate to this prefix",
    });
  }

  /** Keys were deleted, but for those that are kept. */
  deleted(count: number, kept: readonly KeptKey[]): void {
    const nowMs = this.#env.monotonicMs();
    const [first] = kept;
    if (first !== undefined) {
      this.#refusedAtMs = nowMs;
      const what = `the store refuses to delete ${kept.length} of ${count} objects, and they are kept`;
      return this.#sink.raise({
        code: DELETES_REFUSED,
        health: "degraded",
        message: `${what}: ${first.reason}`,
        hint:
          "Nothing is lost. If that is not intended, allow s3:DeleteObject below this prefix; " +
          "with a retention on the bucket, objects are deleted when it has ended",
      });
    }
    const isForgotten = this.#refusedAtMs !== null && nowMs - this.#refusedAtMs > REFUSAL_FORGOTTEN_MS;
    if (count === 0 || !isForgotten) return;
    this.#refusedAtMs = null;
    this.#sink.clear(DELETES_REFUSED);
  }
}
