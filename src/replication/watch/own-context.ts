/**
 * Derives the context of one database from the shared one: its own options, its own conditions, and the store
 * behind its own circuit breaker, whose objects of this database are remembered. The circuit breaker reports
 * its changes here, to the log and as events.
 */
import type { ReplicationConfig } from "../../config/config.ts";
import { ObjectIndex } from "../../local/object-index.ts";
import type { StateFolder } from "../../local/state-folder.ts";
import { RememberingStore } from "../../storage/bucket/remembering-store.ts";
import type { Circuit, CircuitChange } from "../../storage/contract/circuit.ts";
import { BreakerStore } from "../../storage/guard/breaker-store.ts";
import { CircuitBreaker, type CircuitReport } from "../../storage/guard/circuit-breaker.ts";
import { STORE_SILENT } from "../../storage/network/reachability-monitor.ts";
import { ClosingSignal } from "../context/closing-signal.ts";
import { Conditions } from "../context/conditions.ts";
import type { SharedContext, WatchContext } from "../context/watch-context.ts";

/** The context of one database, and its circuit. */
export interface OwnContext {
  readonly context: WatchContext;
  /** Never opens without a policy for it. */
  readonly circuit: Circuit;
  readonly outages: CircuitOutages;
}

/**
 * Derives the context of one database. It inherits from the shared context and has only the fields of its
 * own: hundreds of copies would be a large part of what an idle database costs. So never spread it into an
 * object.
 */
export function deriveContext(
  name: string,
  shared: SharedContext,
  config: ReplicationConfig,
  paths: StateFolder,
): OwnContext {
  const closing = new ClosingSignal();
  const outages = new CircuitOutages(name, shared);
  const circuit = new CircuitBreaker(config.retry, shared.env, outages, shared.outage);
  const guarded = new BreakerStore(shared.store, circuit, closing);
  const store = new RememberingStore(guarded, name, new ObjectIndex(paths), shared.env);
  const conditions = new Conditions(name, shared.env, shared.emit);
  const context: WatchContext = Object.setPrototypeOf({ config, store, closing, conditions }, shared);
  return { context, circuit, outages };
}

/** Reports the changes of one circuit, and knows whether it has opened since its last end was reported. */
export class CircuitOutages implements CircuitReport {
  #hasOpened = false;

  constructor(
    readonly database: string,
    readonly shared: Pick<SharedContext, "env" | "emit" | "storeConditions">,
  ) {}

  get hasOpened(): boolean {
    return this.#hasOpened;
  }

  changed(change: CircuitChange): void {
    if (change.kind === "opened") this.#hasOpened = true;
    reportChange(this.database, change, this.shared);
  }

  /** The end is reported. @returns whether there was anything to end */
  end(): boolean {
    const hasOpened = this.#hasOpened;
    this.#hasOpened = false;
    return hasOpened;
  }
}

/** Reports a change. The end of an outage is reported with the recovery, when everything is uploaded. */
function reportChange(
  database: string,
  change: CircuitChange,
  { env, emit, storeConditions }: Pick<SharedContext, "env" | "emit" | "storeConditions">,
): void {
  if (change.kind === "closed") return env.log.debug("requests to the store go on", { database });
  const { failures, message, isFirst } = change;
  const until = new Date(change.untilMs).toISOString();
  const nextTry = `next try in ${Math.ceil((change.untilMs - env.nowMs()) / 1000)} s`;
  if (!isFirst)
    return env.log.debug(`requests stay suspended until ${until} (${nextTry}): ${message}`, { database });
  const when = `until ${until} (${nextTry})`;
  const what = `requests to the store are suspended ${when} after ${failures} failures in a row`;
  // A store that does not answer is logged once, and not for each database.
  env.log[storeConditions.has(STORE_SILENT) ? "debug" : "warn"](`${what}: ${message}`, { database });
  emit({ event: "circuit-open", database, failures, until, message });
}
