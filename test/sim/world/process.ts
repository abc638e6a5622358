/**
 * One simulated process of `walrust watch`: starts the real watch on the run's scheduler, and ends by a stop
 * or by a crash. Everything that the process holds in memory dies with it.
 */
import type { Config } from "../../../src/config/config.ts";
import type { RuntimeFolders } from "../../../src/local/folders/runtime-folder.ts";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import { Conditions } from "../../../src/replication/context/conditions.ts";
import type { WatchEvent } from "../../../src/replication/context/watch-events.ts";
import type { WatchTarget } from "../../../src/replication/context/watch-target.ts";
import { type RunningWatch, type WatchResult, watch } from "../../../src/replication/watch/watch-loop.ts";
import type { DatabaseStatus } from "../../../src/replication/watch/watch-status.ts";
import { AdaptiveLimit } from "../../../src/storage/guard/adaptive-limit.ts";
import { PutLimiter } from "../../../src/storage/guard/put-limiter.ts";
import { RetryingStore } from "../../../src/storage/guard/retrying-store.ts";
import { type Look, ObservedProcess } from "../oracle/observed.ts";
import { Crashed, resetModules } from "../seam/gate.ts";
import { closeAll } from "../seam/process-files.ts";
import type { Bucket } from "./bucket.ts";
import type { Chance } from "./chance.ts";
import type { DatabasePlan } from "./databases.ts";
import type { Owner, Scheduler } from "./scheduler.ts";
import { type OnLogLine, simEnv } from "./sim-env.ts";
import { SimStore } from "./sim-store.ts";
import type { StoreFaults } from "./store-faults.ts";
import { WalHints } from "./wal-hints.ts";

/** The surroundings of a process. */
export interface ProcessWorld {
  readonly scheduler: Scheduler;
  readonly chance: Chance;
  readonly bucket: Bucket;
  readonly faults: StoreFaults;
  readonly config: Config;
  readonly databases: readonly DatabasePlan[];
  readonly hasEvents: boolean;
  readonly onLine: OnLogLine;
  readonly onEvent: (event: WatchEvent) => void;
  readonly onBlocked: () => void;
}

/** No control socket: nobody asks a simulated watch. */
const NO_FOLDERS = { ownOrNull: () => null, present: () => [] } as unknown as RuntimeFolders;

/** A process that runs, has stopped, or has crashed. */
export class SimProcess implements Owner {
  isAlive = true;
  /** A machine takes longer to start than a request to arrive. */
  hasNoRequests = false;
  readonly hints: WalHints;
  result: WatchResult | null = null;
  failure: unknown = null;
  #running: RunningWatch | null = null;
  readonly #observed: ObservedProcess;
  readonly #aborter = new AbortController();

  constructor(readonly world: ProcessWorld) {
    const { scheduler, chance, bucket, faults, config, hasEvents, onLine, onBlocked } = world;
    this.hints = new WalHints(scheduler, this, chance);
    const onLogLine: OnLogLine = (level, message, database) => {
      if (database !== undefined) this.#observed.logged(database, message);
      onLine(level, message, database);
    };
    const env = simEnv(scheduler, this, chance.fork(), onLogLine, onBlocked);
    const puts = new PutLimiter(new AdaptiveLimit(config.cache.uploaderConcurrency), env);
    const store = new RetryingStore(new SimStore(bucket, faults, scheduler, this), env, config.retry, puts);
    const emit = (event: WatchEvent): void => {
      if (!this.isAlive) return;
      this.#observed.observe(event);
      world.onEvent(event);
    };
    const version = "simulated";
    const storeConditions = new Conditions(null, env, emit);
    const source = { statuses: () => this.statuses, storeConditions: () => storeConditions.current };
    this.#observed = new ObservedProcess(source, { env, version, store, storeConditions });
    const found = { targets: world.databases.map((plan) => targetOf(plan, config)), unwatchable: [] };
    const input = {
      store,
      puts,
      config,
      env,
      version,
      emit,
      validate: async () => ({ status: "ok", messages: [] }) as const,
      storeConditions,
      runtimeFolders: NO_FOLDERS,
      openWalEvents: hasEvents ? this.hints.open : () => null,
      isNamedOnly: false,
      discover: async () => found,
      onStart: (running: RunningWatch) => {
        this.#running = running;
      },
    };
    watch(found, input, this.#aborter.signal).then(
      (result) => {
        this.result = result;
      },
      (error: unknown) => {
        if (!(error instanceof Crashed)) this.failure = error;
      },
    );
  }

  /** The status of each database. */
  get statuses(): DatabaseStatus[] {
    return this.#running?.statuses() ?? [];
  }

  /** Looks at everything that the process shows. @throws what a page throws */
  look(newestTxid: (database: string) => number): Look {
    return this.#observed.look(newestTxid);
  }

  /** Syncs one database, as `walrust sync` asks for it. @param onSynced called if it is in time */
  sync(name: string, timeoutMs: number, onSynced: () => void): void {
    const synced = this.#running?.sync([name], timeoutMs);
    synced?.then(
      ([result]) => {
        if (this.isAlive && result?.outcome === "synced") onSynced();
      },
      (error: unknown) => {
        if (!(error instanceof Crashed)) this.failure = error;
      },
    );
  }

  /** Asks the process to stop, as SIGTERM does. */
  stop(): void {
    this.#aborter.abort(new Error("stopped"));
  }

  /** Ends the process as SIGKILL does. Its operations already throw. */
  crash(): void {
    this.isAlive = false;
    this.world.scheduler.cancelDead();
    // Code that still runs meets a dead process at its next operation, and ends.
    this.world.scheduler.settle();
    closeAll();
    resetModules();
  }
}

function targetOf({ path, name }: DatabasePlan, config: Config): WatchTarget {
  return { path, name, paths: stateFolderOf(path), config, isDiscovered: false };
}
