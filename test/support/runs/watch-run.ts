/**
 * Runs `watch` in this process, beside applications in child processes. The run records events and log lines,
 * and a test waits for them. The test process must not open an SQLite connection on a database that is
 * watched here.
 */
import type { ReplicationConfig } from "../../../src/config/config.ts";
import type { Discover, Discovered, Unwatchable } from "../../../src/discovery/discovered.ts";
import type { Env } from "../../../src/env.ts";
import { RuntimeFolders } from "../../../src/local/folders/runtime-folder.ts";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import { Conditions } from "../../../src/replication/context/conditions.ts";
import type { UploadGate, Validate } from "../../../src/replication/context/watch-context.ts";
import type { WatchEvent } from "../../../src/replication/context/watch-events.ts";
import type { WatchTarget } from "../../../src/replication/context/watch-target.ts";
import {
  type RunningWatch,
  type WatchInput,
  type WatchResult,
  watch,
} from "../../../src/replication/watch/watch-loop.ts";
import type { DatabaseStatus } from "../../../src/replication/watch/watch-status.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { CAPTURES_ONLY, type ConfigChange, configWith } from "../config.ts";
import { SqliteProcess, waitUntil } from "../processes/sqlite-process.ts";
import { type LoggedLine, recordingEnv } from "../recording-log.ts";
import { tempFolder } from "../temp.ts";

/** A database to watch; a target without a configuration of its own uses the one of the run. */
export type RunTarget = Omit<WatchTarget, "config" | "isDiscovered"> &
  Partial<Pick<WatchTarget, "config" | "isDiscovered">>;

/** Optional parts of a run. */
export type RunInput = Partial<Pick<WatchInput, "isNamedOnly" | "validate" | "openWalEvents" | "push">> & {
  readonly discover?: Discover<RunTarget>;
  /** Unwatchable paths of the first discovery. */
  readonly unwatchable?: readonly Unwatchable[];
};

/** A target with the configuration of its run. */
export function targetOf(path: string, name = "app"): RunTarget {
  return { path, name, paths: stateFolderOf(path) };
}

/** Makes a database in WAL mode with a table `t(id, v)` and one row, open in a child process. */
export async function newDatabase(
  pragmas = "page_size = 4096",
): Promise<{ path: string; app: SqliteProcess }> {
  const path = `${tempFolder("watched")}/app.db`;
  const app = await SqliteProcess.open(path);
  await app.must(
    `PRAGMA ${pragmas}`,
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = OFF",
    "CREATE TABLE t(id INTEGER PRIMARY KEY, v)",
    "INSERT INTO t(v) VALUES ('first')",
  );
  return { path, app };
}

/** Adds the configuration of the run to targets without one, when the watch reads the targets. */
function configured(found: Discovered<RunTarget>, config: ReplicationConfig): Discovered<WatchTarget> {
  return {
    get targets() {
      return found.targets.map((target) => ({ config, isDiscovered: false, ...target }));
    },
    unwatchable: found.unwatchable,
  };
}

/** A gate without limits. */
export const NO_LIMIT: UploadGate = {
  reserve: async () => ({ use: () => false, end: () => {} }),
  facts: { limit: 1, ceiling: 1, inFlight: 0, waiting: 0, reason: "starting" },
};

/** A discovery that finds nothing new. */
const NEVER: Discover<RunTarget> = () => new Promise(() => {});

/** A validation without findings. */
const SOUND: Validate = async () => ({ status: "ok", messages: [] });

/** A watch that runs until `stop`. */
export class WatchRun {
  readonly events: WatchEvent[] = [];
  readonly lines: LoggedLine[];
  readonly done: Promise<WatchResult>;
  isDone = false;
  readonly #aborter = new AbortController();
  readonly #config: ReplicationConfig;
  #running: RunningWatch | null = null;

  constructor(
    targets: readonly RunTarget[],
    readonly store: ObjectStore,
    change: ConfigChange = {},
    overrides: Partial<Env> = {},
    { discover = NEVER, unwatchable = [], ...more }: RunInput = {},
  ) {
    const { env, lines } = recordingEnv(overrides);
    this.lines = lines;
    const config = configWith(change, CAPTURES_ONLY);
    this.#config = config;
    const emit = (event: WatchEvent): void => void this.events.push(event);
    const first = configured({ targets, unwatchable }, config);
    const input = {
      store,
      puts: NO_LIMIT,
      config,
      env,
      version: "test",
      emit,
      validate: SOUND,
      storeConditions: new Conditions(null, env, emit),
      runtimeFolders: RuntimeFolders.standard(),
      // The read of the events blocks one of the two threads of Bun's pool, and tests run several watches.
      openWalEvents: () => null,
      // Without a discovery, the watch ends if it can watch none of its databases.
      isNamedOnly: discover === NEVER,
      onStart: (running: RunningWatch): void => {
        this.#running = running;
      },
      ...more,
      discover: async () => {
        const isEnd = discover === NEVER && this.#aborter.signal.aborted;
        return isEnd ? first : configured(await discover(), config);
      },
    };
    this.done = watch(first, input, this.#aborter.signal).finally(() => {
      this.isDone = true;
    });
    this.done.catch(() => {});
  }

  /** The configuration was read again, and these databases are found by it. */
  reconfigure(targets: readonly RunTarget[]): void {
    this.#running!.reconfigure(this.#config, configured({ targets, unwatchable: [] }, this.#config));
  }

  /** Events of one kind, of one database or of all. */
  all<E extends WatchEvent["event"]>(event: E, database?: string): Extract<WatchEvent, { event: E }>[] {
    return this.events.filter(
      (one): one is Extract<WatchEvent, { event: E }> =>
        one.event === event && (database === undefined || one.database === database),
    );
  }

  /** The current status of each database. */
  statuses(): readonly DatabaseStatus[] {
    return this.#running?.statuses() ?? [];
  }

  /** The current status of one database. */
  status(database = "app"): DatabaseStatus {
    const status = this.statuses().find((one) => one.database === database);
    if (status === undefined) throw new Error(`${database} is not watched`);
    return status;
  }

  /** Names of the currently watched databases. */
  get databases(): string[] {
    return this.statuses().map(({ database }) => database);
  }

  /** Whether a log line contains a text. */
  isSaid(text: string): boolean {
    return this.saidCount(text) > 0;
  }

  /** Number of log lines that contain a text. */
  saidCount(text: string): number {
    return this.lines.filter(({ level, message }) => level !== "debug" && message.includes(text)).length;
  }

  /** The newest uploaded TXID, or 0. */
  uploadedTxid(database = "app"): number {
    return Math.max(0, ...this.all("uploaded", database).map(({ txid }) => txid));
  }

  /** Waits for a condition; at the time limit the error quotes the log and the events. */
  async until(what: string, condition: () => boolean, timeoutMs = 4_000): Promise<void> {
    try {
      await waitUntil(condition, timeoutMs);
    } catch {
      const told = [...this.events, ...this.lines].map((one) => JSON.stringify(one)).join("\n");
      throw new Error(`waited in vain for ${what}; what was said:\n${told}`);
    }
  }

  /** Waits until `count` databases are watched. */
  async watching(count = 1): Promise<this> {
    await this.until("watching", () => this.all("watching").length >= count);
    return this;
  }

  /** Waits until a TXID is in the bucket. */
  async uploaded(txid: number, database = "app"): Promise<void> {
    await this.until(`TXID ${txid} of ${database}`, () => this.uploadedTxid(database) >= txid);
  }

  /** Runs statements in the application and waits until their one commit is in the bucket. */
  async commit(app: SqliteProcess, ...statements: string[]): Promise<number> {
    const txid = this.uploadedTxid() + 1;
    await app.must(...statements);
    await this.uploaded(txid);
    return txid;
  }

  /** Stops the watch gracefully, with a drain. */
  async stop(): Promise<WatchResult> {
    this.#aborter.abort();
    return this.done;
  }
}

/** A watch of one database that has uploaded its first snapshot. */
export async function watchOne(
  path: string,
  store: ObjectStore,
  change: ConfigChange = {},
): Promise<WatchRun> {
  const run = new WatchRun([targetOf(path)], store, change);
  await run.watching();
  await run.until("an empty queue", () => run.uploadedTxid() >= 1 || run.all("watching")[0]!.txid > 1);
  return run;
}
