/**
 * The faults of the simulated store. A fault strikes a request before its effect, after its effect, or in
 * place of the answer. Spells of trouble come and go; between spells single requests fail.
 */
import { WalrustError } from "../../../src/errors.ts";
import type { Chance } from "./chance.ts";

/** The fate of one request: an error before or after the effect, or neither. */
export interface RequestFate {
  readonly delayMs: number;
  readonly answerDelayMs: number;
  readonly before: WalrustError | null;
  readonly after: WalrustError | null;
}

/** The kinds of spells. */
export type Spell = "none" | "away" | "throttled" | "slow" | "refused";

/** The probabilities of a run. */
export interface StoreRates {
  /** A request fails outside spells. */
  readonly failure: number;
  readonly latencyMs: number;
}

/** How long a client waits for an answer that never comes, in ms. */
const TIMEOUT_MS = 30_000;
const SLOW_FACTOR = 60;

/** Decides the fate of each request. */
export class StoreFaults {
  spell: Spell = "none";
  /** False at the end of a run: everything succeeds. */
  isEnabled = true;

  constructor(
    readonly chance: Chance,
    readonly rates: StoreRates,
  ) {}

  /** The fate of the next request. */
  fate(): RequestFate {
    const { chance, rates } = this;
    const slowness = this.isEnabled && this.spell === "slow" ? SLOW_FACTOR : 1;
    const delayMs = chance.wait(rates.latencyMs * slowness);
    const answerDelayMs = chance.wait(rates.latencyMs * slowness);
    const fine = { delayMs, answerDelayMs, before: null, after: null };
    if (!this.isEnabled) return fine;
    if (this.spell === "away") return { ...fine, before: unreachable() };
    if (this.spell === "refused") return { ...fine, before: refused() };
    if (this.spell === "throttled" && chance.is(0.7)) return { ...fine, before: status(503) };
    if (!chance.is(rates.failure)) return fine;
    const error = chance.of([unreachable(), status(500), status(503), status(409)]);
    const isTimeout = chance.is(0.2);
    const struck = { ...fine, answerDelayMs: isTimeout ? TIMEOUT_MS : answerDelayMs };
    return chance.is(0.5)
      ? { ...struck, before: error }
      : { ...struck, after: isTimeout ? error : unreachable() };
  }
}

function unreachable(): WalrustError {
  return new WalrustError("storage", "Cannot reach the store: connection reset", { retryable: true });
}

function status(code: number): WalrustError {
  return new WalrustError("storage", `Cannot use the store: HTTP ${code}`, {
    retryable: true,
    context: { status: code },
  });
}

function refused(): WalrustError {
  return new WalrustError("auth", "Cannot use the store: HTTP 403 ExpiredToken", {
    context: { status: 403 },
  });
}
