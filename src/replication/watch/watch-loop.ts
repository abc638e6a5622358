/**
 * Runs a watch: one loop that polls every database in turn, and its orderly end.
 *
 * The loop holds no timer and no promise per database, and sleeps until a database is due (wake-ups.ts). The
 * loop ends when the signal aborts; the drain follows, bounded by the shutdown timeout. Where discovery can
 * find only named databases, the loop also ends when every database has stopped or is set aside.
 */
import type { ReplicationConfig } from "../../config/config.ts";
import type { OpenWalEvents } from "../../database/wal/wal-events.ts";
import type { Discover, Discovered } from "../../discovery/discovered.ts";
import { RepeatedDiscovery } from "../../discovery/repeated-discovery.ts";
import type { Env } from "../../env.ts";
import { type Condition, errorMessage } from "../../errors.ts";
import type { RuntimeFolders } from "../../local/folders/runtime-folder.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { OutageProbe } from "../../storage/guard/outage-probe.ts";
import { Semaphore } from "../../storage/guard/semaphore.ts";
import { BlockingBudget } from "../context/blocking-budget.ts";
import type { Conditions } from "../context/conditions.ts";
import { DiskCheck } from "../context/disk-check.ts";
import { LoopLoad } from "../context/loop-load.ts";
import { OwnWriters } from "../context/own-writers.ts";
import type { SharedContext, UploadGate, Validate } from "../context/watch-context.ts";
import type { WatchEvent } from "../context/watch-events.ts";
import type { WatchTarget } from "../context/watch-target.ts";
import { WorkMeter } from "../context/work-meter.ts";
import type { PushReplicas } from "../push/push-replicas.ts";
import { catchUp, type LaggingDatabase } from "../requests/catch-up.ts";
import type { SyncedDatabase } from "../requests/sync-request.ts";
import { Backlog } from "../upload/backlog.ts";
import { CreateOnlyProbe } from "../upload/create-only-probe.ts";
import { enforceSpoolBudget, overShare } from "../upload/spool-limit.ts";
import { Fleet, type WatchResult } from "./fleet.ts";
import { namesakeOrNull } from "./namesake.ts";
import { WakeUps } from "./wake-ups.ts";
import { WatchControl } from "./watch-control.ts";
import { WatchReport } from "./watch-report.ts";
import type { DatabaseStatus } from "./watch-status.ts";
import type { Watcher } from "./watcher.ts";

const ANCHORS_AT_ONCE = 2;
const ATTACHES_AT_ONCE = 16;
const UPKEEPS_AT_ONCE = 2;
/** The key of no object: a request for it tells whether the store answers. */
const ALIVE_KEY = ".walrust-alive";
const BUDGET_INTERVAL_MS = 2_000;
/**
 * Looks in a row before uploads have their turn: hundreds of captures take seconds, and nothing else would
 * move.
 */
const SLICE_MS = 10;
/** A discovery at the end takes no more than this from the time that a service manager leaves. */
const LATE_DISCOVERY_MS = 1_000;
/** The time for the last pushes, to replicas that answer. */
const LAST_PUSHES_MS = 1_000;

/** A running watch, for health and metrics. */
export interface RunningWatch {
  /** Every database, also those that stopped or cannot be watched. */
  statuses(): DatabaseStatus[];
  /** Conditions of the store that all databases share. */
  storeConditions(): readonly Condition[];
  /**
   * Waits until everything that is committed now is in the bucket.
   * @param names only these databases; null: all
   */
  sync(names: readonly string[] | null, timeoutMs: number): Promise<SyncedDatabase[]>;
  /** Turns of the loop so far. A loop that hangs makes no turn. */
  readonly turnCount: number;
  /** Whether no database is watched and none can be found, so that the watch is about to end. */
  readonly hasGivenUp: boolean;
  /** Finds the databases that are present now, without a wait for the next discovery. */
  discover(): Promise<void>;
  /** Waits as `catchUp` does, for the databases of this moment. */
  catchUp(): Promise<readonly LaggingDatabase[]>;
  /**
   * The configuration was read again: takes the settings and the databases. `discover` finds databases by
   * the same configuration from here on.
   * @returns the paths of all databases that stay in the watch
   */
  reconfigure(config: ReplicationConfig, discovered: Discovered<WatchTarget>): ReadonlySet<string>;
}

/** The input of a watch beside the first discovery. */
export interface WatchInput {
  readonly store: ObjectStore;
  /** The limit that all puts of the store pass. */
  readonly puts: UploadGate;
  readonly config: ReplicationConfig;
  readonly env: Env;
  readonly version: string;
  readonly emit: (event: WatchEvent) => void;
  readonly onImage?: SharedContext["onImage"];
  readonly validate: Validate;
  /** The push replicas; absent: there are none. The watch ends their pushes. */
  readonly push?: PushReplicas | undefined;
  /**
   * Finds all databases that are present, every 5 s. The watch starts replicating new databases, and stops
   * replicating databases that are not found any more.
   */
  readonly discover: Discover<WatchTarget>;
  /**
   * Whether only named databases can be found: the watch ends when none of them can be watched. Read at each
   * turn of the loop.
   */
  readonly isNamedOnly: boolean;
  /** The conditions that the store was opened with. */
  readonly storeConditions: Conditions;
  /** How long the store has taken no request; absent: not known. */
  readonly storeSilentMs?: () => number;
  /** The folders that may hold the control socket. */
  readonly runtimeFolders: RuntimeFolders;
  /** Opens the events of -wal files; without events, the loop polls. */
  readonly openWalEvents: OpenWalEvents;
  /** Reads the configuration again, for a request; absent: the watch cannot. */
  readonly onReload?: () => Promise<unknown>;
  /** Called once, before the first event. */
  readonly onStart?: (watch: RunningWatch) => void;
}

/**
 * Watches databases until `signal` aborts, or until each of them has stopped for good and none can be found.
 * @param first the result of the first discovery
 */
export async function watch(
  first: Discovered<WatchTarget>,
  input: WatchInput,
  signal: AbortSignal,
): Promise<WatchResult> {
  const { onStart, config, env, version, storeConditions, push } = input;
  const meter = new WorkMeter();
  const store = meter.metered(input.store);
  const head = (until: AbortSignal) => store.head(ALIVE_KEY, { signal: until, isSingleAttempt: true });
  const emit = (event: WatchEvent): void => {
    const watcher = event.event === "watching" ? fleet.findOrNull(undefined, event.database) : null;
    if (watcher !== null) control.announce(watcher.target);
    if (watcher?.live != null) push?.offer(watcher.live);
    if (event.event === "let-go" || event.event === "stopped") push?.forget(event.database);
    if (event.event === "recovered") probe.recovered(env.monotonicMs());
    report.observe(event);
    input.emit(event);
  };
  const search = { location: store.location, env, folders: input.runtimeFolders };
  const context: SharedContext = {
    outage: new OutageProbe(env, head, signal),
    store,
    config,
    env,
    version,
    validate: input.validate,
    emit,
    meter,
    onImage: meter.meteredImage(input.onImage),
    puts: input.puts,
    push,
    storeConditions,
    storeSilentMs: input.storeSilentMs,
    namesakeOrNull: (target, until) => namesakeOrNull(target, search, until),
    stopping: signal,
    ...newLimits(),
    writers: new OwnWriters(),
  };
  const fleet: Fleet = new Fleet(context);
  const report = new WatchReport(fleet, context);
  const discoverNow = async (): Promise<void> => acceptNow(fleet, beside, context, await input.discover());
  // A named database is tried again and again: there is nothing to discover.
  const discover = async (): Promise<void> => (input.isNamedOnly ? undefined : discoverNow());
  const renewals = { discover, reload: input.onReload };
  const control = new WatchControl(fleet, report, context, input.runtimeFolders, renewals);
  const probe = new CreateOnlyProbe(store, env);
  const backlog = new Backlog(storeConditions, input.puts);
  const wakeUps = new WakeUps(env, input.openWalEvents);
  const discovery = new RepeatedDiscovery(input.discover, env);
  const disks = new DiskCheck(storeConditions);
  const beside: Beside = { discovery, control, probe, backlog, disks, wakeUps, turnCount: 0 };
  if (push !== undefined)
    push.onSnapshotNeeded = (name) => fleet.findOrNull(undefined, name)?.requestSnapshot();
  try {
    onStart?.(runningWatch(fleet, beside, input, context, discoverNow));
    fleet.accept(first);
    control.refresh();
    await loop(fleet, beside, input, context);
    if (signal.aborted) await takeLate(fleet, input, env);
    await fleet.drain();
    await push?.finish(LAST_PUSHES_MS);
  } finally {
    wakeUps.close();
    control.close();
    await fleet.close();
    await push?.close();
  }
  return fleet.result();
}

/** The limits on the work of all databases at once. */
function newLimits(): Pick<SharedContext, "anchors" | "attaches" | "upkeeps" | "blocking" | "load"> {
  return {
    anchors: new Semaphore(ANCHORS_AT_ONCE),
    attaches: new Semaphore(ATTACHES_AT_ONCE),
    upkeeps: new Semaphore(UPKEEPS_AT_ONCE),
    blocking: new BlockingBudget(),
    load: new LoopLoad(),
  };
}

/** The running watch, as others see it. */
function runningWatch(
  fleet: Fleet,
  beside: Beside,
  input: Pick<WatchInput, "isNamedOnly" | "storeConditions">,
  context: SharedContext,
  discover: () => Promise<void>,
): RunningWatch {
  const { env, stopping } = context;
  return {
    statuses: () => fleet.statuses(),
    storeConditions: () => input.storeConditions.current,
    sync: (names, timeoutMs) => fleet.sync(names, timeoutMs),
    get turnCount() {
      return beside.turnCount;
    },
    get hasGivenUp() {
      return input.isNamedOnly && !fleet.isAnyWatched;
    },
    catchUp: () => catchUp(fleet.present, env, stopping),
    discover,
    reconfigure: (config, discovered) => {
      context.config = config;
      acceptNow(fleet, beside, context, discovered, true);
      const missing = discovered.unwatchable.filter(({ isMissing }) => isMissing);
      return new Set([...fleet.present.map(({ target }) => target), ...missing].map(({ path }) => path));
    },
  };
}

/** Takes databases that were created since the last discovery, so that the drain captures them, too. */
async function takeLate(fleet: Fleet, { discover }: Pick<WatchInput, "discover">, env: Env): Promise<void> {
  const found = new AbortController();
  const late = discover()
    .then(({ targets }) => fleet.takeLate(targets))
    .catch((error: unknown) => env.log.warn(`cannot discover databases: ${errorMessage(error)}`))
    .finally(() => found.abort());
  await Promise.race([late, env.sleep(LATE_DISCOVERY_MS, found.signal)]);
  if (found.signal.aborted) return;
  env.log.warn("databases that were created in the last seconds may not be captured: the search takes long");
}

/** Takes the databases of a discovery that was not the loop's. @param isAnew as `Fleet.accept` */
function acceptNow(
  fleet: Fleet,
  { discovery, control }: Pick<Beside, "discovery" | "control">,
  { stopping }: Pick<SharedContext, "stopping">,
  discovered: Discovered<WatchTarget>,
  isAnew = false,
): void {
  if (stopping.aborted) return;
  discovery.restart();
  fleet.accept(discovered, isAnew);
  control.refresh();
}

const NOBODY: ReadonlySet<Watcher> = new Set();

/** The tasks that run beside the databases. */
interface Beside {
  readonly discovery: RepeatedDiscovery<WatchTarget>;
  readonly control: WatchControl;
  readonly probe: CreateOnlyProbe;
  readonly backlog: Backlog;
  readonly disks: DiskCheck;
  readonly wakeUps: WakeUps;
  turnCount: number;
}

async function loop(
  fleet: Fleet,
  beside: Beside,
  input: Pick<WatchInput, "isNamedOnly">,
  context: SharedContext,
): Promise<void> {
  const { discovery, control, probe, backlog, disks, wakeUps } = beside;
  const { env, stopping } = context;
  const { watchers } = fleet;
  let isPaused = false;
  let paused: ReadonlySet<Watcher> = NOBODY;
  let nextBudgetMs = 0;
  while (!stopping.aborted) {
    beside.turnCount++;
    const nowMs = env.monotonicMs();
    const discovered = discovery.poll(nowMs);
    if (discovered !== null) {
      fleet.accept(discovered);
      control.refresh();
    }
    for (const limit of [context.blocking, context.load])
      if (limit !== undefined) limit.isShared = watchers.length > 1;
    probe.startDue(nowMs);
    if (nowMs >= nextBudgetMs) {
      nextBudgetMs = nowMs + BUDGET_INTERVAL_MS;
      const bytesMax = context.config.cache.maxSizeBytes;
      isPaused = enforceSpoolBudget(watchers, bytesMax, isPaused, env);
      paused = isPaused ? overShare(watchers, bytesMax) : NOBODY;
      backlog.poll(nowMs, watchers);
      disks.poll(nowMs, watchers);
    }
    const isAnyLeaving = fleet.lookLeaving(nowMs);
    let isAnyRunning = isAnyLeaving || !input.isNamedOnly;
    for (const watcher of isAnyLeaving ? fleet.takeLeft() : []) {
      // Before the host lock is given up: the next watcher may announce itself then.
      control.withdraw(watcher.target);
      wakeUps.forget(watcher);
      void fleet.remove(watcher);
    }
    const mayYield = wakeUps.takeQuestion(nowMs);
    let lookMs = nowMs;
    let sliceEndMs = nowMs + SLICE_MS;
    // While uploads have their turn, a watcher that has left may go.
    for (const watcher of watchers.slice()) {
      const { stopped, leaving, isIdle } = watcher.record;
      if (stopped !== null || leaving !== null) {
        wakeUps.looked(watcher, lookMs);
        continue;
      }
      isAnyRunning ||= !isIdle;
      const isAsked = mayYield && wakeUps.mayBlockCheckpoint(watcher);
      if (!wakeUps.isDue(watcher, lookMs) && !(isAsked && isCheckpointWaiting(watcher))) continue;
      look(watcher, lookMs, paused.has(watcher));
      wakeUps.looked(watcher, lookMs);
      lookMs = env.monotonicMs();
      if (lookMs < sliceEndMs) continue;
      await env.turn();
      if (stopping.aborted) break;
      lookMs = env.monotonicMs();
      sliceEndMs = lookMs + SLICE_MS;
    }
    context.load?.passed(lookMs - nowMs, lookMs);
    if (!isAnyRunning) return;
    await wakeUps.sleep(watchers, stopping);
  }
}

/** Whether a blocking checkpoint of the application waits for the pin. */
function isCheckpointWaiting(watcher: Watcher): boolean {
  const { live } = watcher;
  try {
    return live !== null && !live.pin.isLockless && live.pin.foreignCheckpointWaits();
  } catch (error) {
    watcher.fail(error);
    return false;
  }
}

/** Looks at one database. An error is a failure of that database alone. */
function look(watcher: Watcher, nowMs: number, isSpoolFull: boolean): void {
  try {
    watcher.look(nowMs, isSpoolFull);
  } catch (error) {
    watcher.fail(error);
  }
}

export type { WatchResult };
