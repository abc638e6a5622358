/**
 * Reports the lasting states of a store, once at the begin and once at the end of each: something else
 * answers in its place, it does not enforce create-only writes, it refuses deletes.
 */
import type { Env } from "../../env.ts";
import type { ConditionSink, WalrustError } from "../../errors.ts";
import { answerCodeOf } from "../contract/request-errors.ts";
import { isWeak, type KeptKey, type StoreCapabilities } from "../contract/store.ts";
import { isNotTheStore, strangeAnswerOf } from "./s3-answer.ts";

/** This many answers of something else, with none of the store to such a request in between, are a state. */
const STRANGE_ANSWERS_MIN = 2;
/** A state that returns within this time was not over: each kind of request then has to be answered. */
const STRANGE_AGAIN_MS = 60_000;
/** A kind of request that met no strange answer for this long does not keep the state up. */
const STRANGE_FORGOTTEN_MS = 20_000;
/** Refused deletes end when none was refused for this long: a retention refuses some and not others. */
const REFUSAL_FORGOTTEN_MS = 25 * 3_600_000;

const NOT_THE_STORE = "not-the-store";
const WEAK_WRITES = "weak-writes";
const DELETES_REFUSED = "deletes-refused";

/** The kinds of requests; a probe puts. */
export type S3RequestKind = "put" | "get" | "head" | "list" | "delete";

/** The conditions of one store. */
export class S3Conditions {
  readonly #sink: ConditionSink;
  readonly #env: Pick<Env, "monotonicMs">;
  readonly #url: string;
  /**
   * Strange answers by kind of request: a portal may answer the HEADs while the PUTs reach the store, and
   * each PUT would otherwise end a state that the next HEAD begins.
   */
  readonly #strange = new Map<S3RequestKind, { count: number; seenMs: number }>();
  #isStrange = false;
  #strangeOverMs = Number.NEGATIVE_INFINITY;
  #isStrangeAgain = false;
  #refusedAtMs: number | null = null;

  constructor(sink: ConditionSink, env: Pick<Env, "monotonicMs">, url: string) {
    this.#sink = sink;
    this.#env = env;
    this.#url = url;
  }

  /** Runs a request, and notes whether the store answered or something else. */
  async observed<T>(kind: S3RequestKind, request: () => Promise<T>): Promise<T> {
    try {
      const result = await request();
      this.#answered(kind);
      return result;
    } catch (error) {
      if (isNotTheStore(error)) this.#answeredByOther(kind, error);
      else if (answerCodeOf(error) !== "") this.#answered(kind);
      throw error;
    }
  }

  #answered(kind: S3RequestKind): void {
    if (this.#strange.size === 0) return;
    if (!this.#isStrangeAgain) this.#strange.clear();
    this.#strange.delete(kind);
    this.#forget();
    if (this.#strange.size > 0) return;
    this.#isStrangeAgain = false;
    if (!this.#isStrange) return;
    this.#isStrange = false;
    this.#strangeOverMs = this.#env.monotonicMs();
    this.#sink.clear(NOT_THE_STORE);
  }

  #forget(): void {
    const nowMs = this.#env.monotonicMs();
    for (const [kind, { seenMs }] of this.#strange)
      if (nowMs - seenMs >= STRANGE_FORGOTTEN_MS) this.#strange.delete(kind);
  }

  #answeredByOther(kind: S3RequestKind, error: WalrustError): void {
    const { hint } = error;
    const { count = 0 } = this.#strange.get(kind) ?? {};
    this.#strange.set(kind, { count: count + 1, seenMs: this.#env.monotonicMs() });
    const total = [...this.#strange.values()].reduce((sum, strange) => sum + strange.count, 0);
    if (total < STRANGE_ANSWERS_MIN) return;
    const sinceMs = this.#env.monotonicMs() - this.#strangeOverMs;
    if (!this.#isStrange && sinceMs < STRANGE_AGAIN_MS) this.#isStrangeAgain = true;
    this.#isStrange = true;
    this.#sink.raise({
      code: NOT_THE_STORE,
      health: "unhealthy",
      message: `something else answers in place of ${this.#url}: ${strangeAnswerOf(error)}`,
      ...(hint === undefined ? {} : { hint }),
    });
  }

  /** A probe or a put showed which writes the store enforces. */
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

  /** Keys were deleted, except those that the store keeps. */
  deleted(count: number, kept: readonly KeptKey[]): void {
    const nowMs = this.#env.monotonicMs();
    const [first] = kept;
    if (first !== undefined) {
      this.#refusedAtMs = nowMs;
      const what = `the store refuses to delete ${kept.length} of ${count} objects, and keeps them`;
      return this.#sink.raise({
        code: DELETES_REFUSED,
        health: "degraded",
        message: `${what}: ${first.reason}`,
        hint:
          "Nothing is lost. If this is not intended, allow s3:DeleteObject below this prefix; " +
          "with a retention on the bucket, walrust deletes the objects when the retention ends",
      });
    }
    const isForgotten = this.#refusedAtMs !== null && nowMs - this.#refusedAtMs > REFUSAL_FORGOTTEN_MS;
    if (count === 0 || !isForgotten) return;
    this.#refusedAtMs = null;
    this.#sink.clear(DELETES_REFUSED);
  }
}
