/**
 * What one database has of its own of what all share: its options, and the store behind its circuit breaker,
 * which says once when it opens.
 */
import type { ReplicationConfig } from "../../config/config.ts";
import type { Circuit, CircuitChange } from "../../storage/contract/circuit.ts";
import { BreakerStore } from "../../storage/guard/breaker-store.ts";
import { CircuitBreaker } from "../../storage/guard/circuit-breaker.ts";
import { STORE_SILENT } from "../../storage/network/reachability-monitor.ts";
import { Conditions } from "../context/conditions.ts";
import type { WatchContext } from "../context/watch-context.ts";

/** The context of one database. */
export interface GuardedContext {
  readonly context: WatchContext;
  /** Never opens without a policy for one. */
  readonly breaker: Circuit;
}

/**
 * Puts a circuit breaker of its own before the shared store.
 * @param closing ends what it does, and every request that has no signal of its own
 * @param onChange told after it was said
 */
export function guardContext(
  name: string,
  shared: WatchContext,
  config: ReplicationConfig,
  closing: AbortSignal,
  onChange: (change: CircuitChange) => void,
): GuardedContext {
  const told = (change: CircuitChange): void => {
    sayChange(name, change, shared);
    onChange(change);
  };
  const breaker = new CircuitBreaker(config.retry, shared.env, told, shared.outage);
  const store = new BreakerStore(shared.store, breaker, closing);
  const conditions = new Conditions(name, shared.env, shared.emit);
  const context = { ...shared, config, store, closing, conditions };
  return { context, breaker };
}

/** The end of an outage is said as every other recovery, when all that waited is uploaded. */
function sayChange(
  database: string,
  change: CircuitChange,
  { env, emit, storeConditions }: WatchContext,
): void {
  if (change.kind === "closed") return env.log.debug("requests to the store go on", { database });
  const { failures, message, isFirst } = change;
  const until = new Date(change.untilMs).toISOString();
  if (!isFirst) return env.log.debug(`requests stay suspended until ${until}: ${message}`, { database });
  const what = `requests to the store are suspended until ${until} after ${failures} failures in a row`;
  // A store that does not answer is said once, and not for each database.
  env.log[storeConditions.has(STORE_SILENT) ? "debug" : "warn"](`${what}: ${message}`, { database });
  emit({ event: "circuit-open", database, failures, until, message });
}
