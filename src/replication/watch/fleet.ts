/**
 * The fleet: the watchers of all databases that are watched at this moment. Databases come with a discovery,
 * and leave when a later discovery does not find them any more.
 *
 * Invariants:
 * 1. A path has at most one watcher, and so has a name. A database that comes back while its watcher leaves
 *    waits for the end of that watcher.
 * 2. A database that leaves delays no other: it leaves step by step, beside the looks at the others.
 */
import { existsSync } from "node:fs";
import type { ReplicationConfig } from "../../config/config.ts";
import type { Discovered } from "../../discovery/discovered.ts";
import type { WalrustError } from "../../errors.ts";
import { StandingFindings } from "../../storage/contract/trouble.ts";
import { DELETED_IN_USE, DeletedFiles, goneReason } from "../capture/deleted-file.ts";
import type { SharedContext } from "../context/watch-context.ts";
import type { WatchTarget } from "../context/watch-target.ts";
import { withSilence } from "../requests/silent-store.ts";
import { answerSync, type SyncedDatabase } from "../requests/sync-request.ts";
import { UnwatchableStatuses } from "./unwatchable-status.ts";
import type { DatabaseStatus } from "./watch-status.ts";
import { Watcher } from "./watcher.ts";

/** A database with commits that walrust did not capture. */
export interface UncapturedDatabase {
  readonly database: string;
  /** Null: the time for the drain was over before, so nobody knows whether there are any. */
  readonly error: WalrustError | null;
  /** False: not even its first capture was made, so nobody relies on its backup yet. */
  readonly wasWatched: boolean;
}

/** The end of a watch. */
export interface WatchResult {
  /** Databases that stopped for good, or could not be watched, with the reason. */
  readonly stopped: readonly { readonly database: string; readonly error: WalrustError }[];
  /** Databases with captured files that were not uploaded before the end; the files stay in the spool. */
  readonly undrained: readonly string[];
  /** Databases whose last commits are not captured, with the reason. */
  readonly uncaptured: readonly UncapturedDatabase[];
}

/** The watchers of one process. */
export class Fleet {
  readonly #watchers: Watcher[] = [];
  /** Databases that were found while their path or name was not free. */
  #waiting: readonly WatchTarget[] = [];
  /** Paths whose database has the name of another. */
  readonly #collisions = new StandingFindings();
  readonly #unwatchable = new UnwatchableStatuses();
  readonly #deleted = new DeletedFiles();
  readonly #closing = new Set<Watcher>();

  constructor(readonly context: SharedContext) {}

  /** All watchers, also of databases that stopped or leave. */
  get watchers(): readonly Watcher[] {
    return this.#watchers;
  }

  /** The watchers of databases that do not leave. */
  get present(): readonly Watcher[] {
    return this.#watchers.filter(({ record }) => record.leaving === null);
  }

  /** Whether a database is watched, or is tried to be, or leaves. */
  get isAnyWatched(): boolean {
    return this.#watchers.some(({ record }) => record.leaving !== null || !record.isIdle);
  }

  /** The status of each database, also of those without a watcher. */
  statuses(): DatabaseStatus[] {
    const statuses = this.#watchers.map((watcher) => watcher.status());
    return [...statuses, ...this.#others(statuses)];
  }

  /**
   * Waits until everything that is committed now is in the bucket. A database that cannot be watched counts
   * as stopped, so that nobody takes it for synced.
   * @param names only these databases; null: all
   */
  async sync(names: readonly string[] | null, timeoutMs: number): Promise<SyncedDatabase[]> {
    const isAsked = (name: string): boolean => names === null || names.includes(name);
    const watchers = this.#watchers.filter(({ name, record }) => isAsked(name) && record.leaving === null);
    const statuses = this.#watchers.map((watcher) => watcher.status());
    const others = this.#others(statuses).filter(({ database }) => isAsked(database));
    const synced = await answerSync(watchers, timeoutMs, this.context.env);
    const silentMs = this.context.storeSilentMs?.() ?? 0;
    const waiting = names === null ? this.#waiting.map(waitingResult) : [];
    const watched = synced.map((one) => withSilence(one, silentMs));
    return [...watched, ...others.map(unwatchedResult), ...waiting];
  }

  #others(statuses: readonly DatabaseStatus[]): DatabaseStatus[] {
    const { env, config } = this.context;
    return this.#unwatchable.statuses(statuses, env.monotonicMs(), config.sync.walSyncIntervalMs);
  }

  /** The watcher of a path or a name, or null; a leaving database answers no requests. */
  findOrNull(path: string | undefined, name: string | undefined): Watcher | null {
    const isMeant = ({ target, record }: Watcher): boolean =>
      record.leaving === null && (target.path === path || target.name === name);
    return this.#watchers.find(isMeant) ?? null;
  }

  /**
   * Takes the databases that are present now: starts replicating new ones, and stops for absent ones.
   * @param isAnew whether the configuration was read again, so that a database may be named no more
   */
  accept({ targets, unwatchable }: Discovered<WatchTarget>, isAnew = false): void {
    this.#unwatchable.replace(unwatchable, this.context.env.monotonicMs());
    this.#deleted.begin();
    const present = new Map(targets.map((target) => [target.path, target]));
    const absent = unwatchable.filter(({ isMissing }) => isMissing);
    const missing = new Map(absent.map(({ path, error }) => [path, error]));
    for (const watcher of this.#watchers) {
      const { path, paths } = watcher.target;
      const error = missing.get(path);
      const target = present.get(path);
      const folder = target?.paths.folder ?? paths.folder;
      const isHeld = target === undefined && this.#isHeld(watcher);
      if (error !== undefined && watcher.record.leaving === null) keepNameless(watcher, error);
      else if (target === undefined && isAnew && !(isHeld && watcher.target.isDiscovered))
        watcher.leave("the configuration does not name it any more");
      else if (target === undefined) leaveIfGone(watcher, isHeld);
      else if (folder !== paths.folder) watcher.leave(`its state lies in ${folder} from here on`);
      else if (isOther(target, watcher, isAnew))
        watcher.leave(`it is configured as ${target.name} from here on`);
      else if (watcher.record.leaving !== null) watcher.comeBack();
      else watcher.seen();
      if (error === undefined) watcher.context.conditions.clear(NAMELESS);
      if (!isHeld) watcher.context.conditions.clear(DELETED_IN_USE);
      if (target !== undefined) configure(watcher, target.config);
      if (watcher.record.leaving === null) present.delete(path);
    }
    this.#take([...present.values()]);
  }

  /** Whether an application has the deleted file of a database open that a discovery did not find. */
  #isHeld({ live, target, context, record }: Watcher): boolean {
    if (live === null || record.leaving !== null || existsSync(target.path)) return false;
    return this.#deleted.check(live, context);
  }

  /** Takes databases that came just before the end: only `drain` captures them. */
  takeLate(targets: readonly WatchTarget[]): void {
    const known = new Set(this.#watchers.map(({ target }) => target.path));
    const names = new Set(this.#watchers.map(({ name }) => name));
    const late = targets.filter(({ path, name }) => !known.has(path) && !names.has(name));
    for (const target of late) this.#watchers.push(new Watcher(target, this.context));
  }

  /** Starts watchers for databases whose path and name are free; the others wait until both are. */
  #take(targets: readonly WatchTarget[]): void {
    const paths = new Set(this.#watchers.map(({ target }) => target.path));
    const byName = new Map(this.#watchers.map((watcher) => [watcher.name, watcher]));
    const waiting: WatchTarget[] = [];
    const collisions = new Map<string, readonly [target: WatchTarget, other: string]>();
    for (const target of targets) {
      const namesake = byName.get(target.name);
      if (paths.has(target.path) || namesake !== undefined) {
        waiting.push(target);
        const isCollision = namesake !== undefined && namesake.record.leaving === null;
        const other = isCollision ? namesake.target.path : target.path;
        if (other !== target.path) collisions.set(target.path, [target, other]);
        continue;
      }
      const watcher = new Watcher(target, this.context);
      this.#watchers.push(watcher);
      byName.set(target.name, watcher);
      watcher.start();
    }
    this.#waiting = waiting;
    for (const path of this.#collisions.replace(collisions.keys()).begun) {
      this.#warnOfCollision(...collisions.get(path)!);
    }
  }

  #warnOfCollision({ path, name }: WatchTarget, other: string): void {
    this.context.env.log.warn(`${path} is not watched: ${other} has the same name`, {
      database: name,
      hint: "Give one of them another name in the configuration file",
    });
  }

  /** Continues with the databases that leave. @returns whether there are any */
  lookLeaving(nowMs: number): boolean {
    let isAny = false;
    for (const watcher of this.#watchers) {
      if (watcher.record.leaving === null) continue;
      isAny = true;
      watcher.lookLeaving(nowMs);
    }
    return isAny;
  }

  /** The watchers with nothing left to do, each once: the caller closes them with `remove`. */
  takeLeft(): readonly Watcher[] {
    const left = this.#watchers.filter(({ record }) => record.leaving !== null && record.hasLeft);
    const fresh = left.filter((watcher) => !this.#closing.has(watcher));
    for (const watcher of fresh) this.#closing.add(watcher);
    return fresh;
  }

  /** Closes a watcher that has left, and gives its path and name to a database that waits for them. */
  async remove(watcher: Watcher): Promise<void> {
    const { env, emit, stopping } = this.context;
    const { name: database, record } = watcher;
    await watcher.close();
    this.#closing.delete(watcher);
    this.#watchers.splice(this.#watchers.indexOf(watcher), 1);
    const reason = record.leaving ?? "";
    const left = watcher.pendingCount;
    if (left === 0) env.log.info(`stopped replicating: ${reason}`, { database });
    else
      env.log.warn(`stopped replicating: ${reason}; ${left} captured files were not uploaded`, { database });
    emit({ event: "let-go", database, reason });
    if (!stopping.aborted) this.#take(this.#waiting);
  }

  /** Takes the last captures and uploads them, each database within its own shutdown timeout. */
  async drain(): Promise<void> {
    const byTimeout = Map.groupBy(this.#watchers, ({ context }) => context.config.sync.shutdownTimeoutMs);
    const drains = [...byTimeout].map(async ([timeoutMs, watchers]) => {
      const timeout = new AbortController();
      const finished = Promise.all(watchers.map((watcher) => watcher.drain()));
      await Promise.race([finished, this.context.env.sleep(timeoutMs, timeout.signal)]);
      timeout.abort();
      // Their uploads make room for databases with more time.
      await Promise.all(watchers.map((watcher) => watcher.close()));
    });
    await Promise.all(drains);
  }

  /** Closes all watchers as they are. */
  async close(): Promise<void> {
    await Promise.all(this.#watchers.map((watcher) => watcher.close()));
  }

  /** The end of the watch, after `close`. */
  result(): WatchResult {
    const stopped: { database: string; error: WalrustError }[] = [];
    const undrained: string[] = [];
    const uncaptured: UncapturedDatabase[] = [];
    for (const { name: database, record, pendingCount } of this.#watchers) {
      const { givenUp, isEndKnown, attachment } = record;
      const { wasWatched } = attachment;
      const error = isEndKnown ? attachment.uncaptured : null;
      if (givenUp !== null) stopped.push({ database, error: givenUp });
      else if (!isEndKnown || error !== null) uncaptured.push({ database, error, wasWatched });
      if (givenUp === null && isEndKnown && pendingCount > 0) undrained.push(database);
    }
    return { stopped, undrained, uncaptured };
  }
}

const NOTHING = {
  outcome: "stopped",
  uploadedTxid: 0,
  pendingCount: 0,
  pendingBytes: 0,
  durationMs: 0,
  missing: null,
} as const;

function unwatchedResult({ database, path, failure }: DatabaseStatus): SyncedDatabase {
  return { name: database, path, ...NOTHING, problem: failure };
}

function waitingResult({ name, path }: WatchTarget): SyncedDatabase {
  const message = `${path} is not watched yet: another database has its name, or it leaves the watch first`;
  const hint = "Try again; if that does not help, give one of the two another name in the configuration file";
  return { name, path, ...NOTHING, problem: { code: "database", message, hint } };
}

/** Whether a database has another name in the bucket, or is found in another way, than its watcher knows. */
function isOther({ name, isDiscovered }: WatchTarget, { target }: Watcher, isAnew: boolean): boolean {
  return name !== target.name || (isAnew && isDiscovered !== target.isDiscovered);
}

/** Gives a database other settings, if they are others. */
function configure({ context, record }: Watcher, config: ReplicationConfig): void {
  if (context.config === config) return;
  context.config = config;
  record.upkeep.reconfigure(config, context.env.monotonicMs(), context.env.random());
}

/** The condition of a database whose file exists while its name leads nowhere. */
const NAMELESS = "name-leads-nowhere";

/**
 * A symbolic link that leads nowhere is mostly being re-pointed: nothing changes until it leads elsewhere.
 */
function keepNameless({ target, context }: Watcher, { message }: WalrustError): void {
  if (!existsSync(target.path)) return context.conditions.clear(NAMELESS);
  context.conditions.raise({
    code: NAMELESS,
    health: "degraded",
    message: `${message}; walrust still replicates the file it led to, ${target.path}`,
    hint: "Let the name lead to the database that the application uses; walrust follows within seconds",
  });
}

/**
 * A named database whose file is gone stays: its absence is a failure, and is retried. So does a database
 * whose deleted file is held open.
 */
function leaveIfGone(watcher: Watcher, isHeld: boolean): void {
  const { path, isDiscovered } = watcher.target;
  if (existsSync(path)) watcher.leave("it is not found any more");
  else if (isDiscovered && !isHeld) watcher.leave(goneReason(watcher.live));
}
