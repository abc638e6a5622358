/**
 * Watching: one loop that looks at every database in turn, and the orderly end of it.
 *
 * The loop holds no timer and no promise per database. Databases with recent commits are looked at every 40
 * ms, idle ones every 80; that costs a read of 136 bytes each. It ends when the signal aborts
 * (drain: a last capture, the uploads, bounded by the shutdown timeout), or when every database has stopped.
 */
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import type { Env } from "../env.ts";
import { WalrustError } from "../errors.ts";
import { Slots } from "../storage/slots.ts";
import type { ObjectStore } from "../storage/store.ts";
import type { AttachTarget } from "./attach.ts";
import { type ControlRequest, type ControlServer, serveControl } from "./control.ts";
import { DatabaseWatcher } from "./database-watcher.ts";
import { asWalrustError } from "./failure-tracker.ts";
import { enforceSpoolBudget } from "./spool-budget.ts";
import type { WatchContext, WatchEvent, WatchOptions } from "./watch-types.ts";

/** Between two looks while something was captured in the last seconds, and while nothing was. */
const ACTIVE_TICK_MS = 40;
const IDLE_TICK_MS = 80;
const ANCHORS_AT_ONCE = 2;
const ATTACHES_AT_ONCE = 16;
const UPKEEPS_AT_ONCE = 2;
const BUDGET_INTERVAL_MS = 2_000;

/** What `watch` needs beside the databases. */
export interface WatchInput {
  readonly store: ObjectStore;
  readonly options: WatchOptions;
  readonly env: Env;
  readonly version: string;
  readonly emit: (event: WatchEvent) => void;
  readonly validate?: WatchContext["validate"];
}

/** How watching ended. */
export interface WatchResult {
  /** Databases that stopped for good, with the reason. */
  readonly stopped: readonly { readonly database: string; readonly error: WalrustError }[];
  /** Databases with captured files that could not be uploaded before the end; they wait in the spool. */
  readonly undrained: readonly string[];
}

/**
 * Watches databases until `signal` aborts, or until each of them has stopped for good.
 */
export async function watch(
  targets: readonly AttachTarget[],
  input: WatchInput,
  signal: AbortSignal,
): Promise<WatchResult> {
  let control: ControlServer | null = null;
  const emit = (event: WatchEvent): void => {
    const target =
      event.event === "watching" ? targets.find(({ name }) => name === event.database) : undefined;
    if (target !== undefined)
      control?.announce(target.paths.folder, input.store.url, target.name, target.path);
    input.emit(event);
  };
  const context: WatchContext = {
    ...input,
    emit,
    uploads: new Slots(input.options.uploaderConcurrency),
    anchors: new Slots(ANCHORS_AT_ONCE),
    attaches: new Slots(ATTACHES_AT_ONCE),
    upkeeps: new Slots(UPKEEPS_AT_ONCE),
  };
  const watchers = targets.map((target) => new DatabaseWatcher(target, context));
  control = serveRequests(watchers, context);
  try {
    for (const watcher of watchers) watcher.start(signal);
    await loop(watchers, context, signal);
    await drain(watchers, context);
  } finally {
    control?.close();
    await Promise.all(watchers.map((watcher) => watcher.close()));
  }
  return resultOf(watchers);
}

async function loop(
  watchers: readonly DatabaseWatcher[],
  context: WatchContext,
  signal: AbortSignal,
): Promise<void> {
  const { env, options } = context;
  const bytesMax = options.spoolBytesMax ?? Number.POSITIVE_INFINITY;
  let isPaused = false;
  let wasAnyActive = true;
  let nextBudgetMs = 0;
  for (let tick = 0; !signal.aborted; tick++) {
    const nowMs = env.monotonicMs();
    if (nowMs >= nextBudgetMs) {
      nextBudgetMs = nowMs + BUDGET_INTERVAL_MS;
      isPaused = enforceSpoolBudget(watchers, bytesMax, isPaused, env);
    }
    let running = 0;
    let isAnyActive = false;
    for (let i = 0; i < watchers.length; i++) {
      const watcher = watchers[i]!;
      if (watcher.stopped !== null) continue;
      running++;
      watcher.setPaused(isPaused);
      const isActive = watcher.isActive(nowMs);
      isAnyActive ||= isActive;
      // Beside busy databases an idle one is looked at on every second tick: as often as when all are idle.
      if (isActive || !wasAnyActive || (tick + i) % 2 === 0) watcher.look(nowMs);
    }
    if (running === 0) return;
    wasAnyActive = isAnyActive;
    await env.sleep(isAnyActive ? ACTIVE_TICK_MS : IDLE_TICK_MS, signal);
  }
}

/** Answers `walrust snapshot` and `walrust compact`; without a folder to put the socket in there is none. */
function serveRequests(watchers: readonly DatabaseWatcher[], context: WatchContext): ControlServer | null {
  const folder = watchers.map(({ target }) => target.paths.folder).find((path) => existsSync(path));
  const handle = async ({
    verb,
    path,
    name,
    destination,
    retention,
    force,
  }: ControlRequest): Promise<unknown> => {
    const watcher = watchers.find(({ target }) => target.path === path || target.name === name);
    if (watcher === undefined) throw new WalrustError("database", `${path ?? name} is not watched`);
    if (destination !== context.store.url) {
      throw new WalrustError(
        "locked",
        `The watch that has ${watcher.target.path} replicates to ${context.store.url}`,
        {
          hint: "Give that destination, or stop the watch: a database has one writer and one history",
        },
      );
    }
    const { requests } = watcher;
    if (verb === "snapshot") return requests.snapshot();
    if (verb === "checksum") return requests.checksum();
    return requests.upkeep(retention, force === true);
  };
  try {
    return serveControl(folder ?? tmpdir(), handle);
  } catch (error) {
    context.env.log.warn(`no socket for snapshot and compact: ${asWalrustError(error).message}`);
    return null;
  }
}

async function drain(watchers: readonly DatabaseWatcher[], context: WatchContext): Promise<void> {
  const { env, options } = context;
  const finished = Promise.all(watchers.map((watcher) => watcher.finish()));
  const timeout = new AbortController();
  await Promise.race([finished, env.sleep(options.shutdownTimeoutMs, timeout.signal)]);
  timeout.abort();
}

function resultOf(watchers: readonly DatabaseWatcher[]): WatchResult {
  const stopped: { database: string; error: WalrustError }[] = [];
  const undrained: string[] = [];
  for (const watcher of watchers) {
    if (watcher.stopped !== null) stopped.push({ database: watcher.name, error: watcher.stopped });
    if (watcher.pendingCount > 0) undrained.push(watcher.name);
  }
  return { stopped, undrained };
}
