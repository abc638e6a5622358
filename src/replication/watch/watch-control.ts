/**
 * The control socket of a watch: hands the requests of `walrust snapshot`, `compact` and `verify --restore`
 * to the watchers of the fleet, answers requests about the whole watch (`walrust status`), and announces each
 * watched database. A socket that somebody removed is opened again.
 */
import { existsSync } from "node:fs";
import { errorMessage, WalrustError } from "../../errors.ts";
import type { RuntimeFolders } from "../../local/folders/runtime-folder.ts";
import { Trouble } from "../../storage/contract/trouble.ts";
import type { SharedContext } from "../context/watch-context.ts";
import type { WatchTarget } from "../context/watch-target.ts";
import type { OnWorkProgress, WorkListener } from "../context/work-meter.ts";
import type { AnnouncedDatabase } from "../control/announcements.ts";
import type { ControlRequest, WatchRequest } from "../control/control-request.ts";
import { type ControlServer, serveControl } from "../control/control-server.ts";
import { atIntervals, SnapshotProgress, UpkeepProgress } from "../requests/request-progress.ts";
import { answerChecksum, answerSnapshot } from "../requests/requests.ts";
import type { SyncedDatabase } from "../requests/sync-request.ts";
import type { Fleet } from "./fleet.ts";
import type { WatchReport } from "./watch-report.ts";
import type { Watcher } from "./watcher.ts";

/** The time of a sync whose request gives none. */
const SYNC_MS = 30_000;

/** The answer to a sync. */
export interface SyncAnswer {
  /** The destination as a person writes it. */
  readonly destination: string;
  readonly databases: readonly SyncedDatabase[];
}

/** Has the watch take what is there now. */
export interface Renewals {
  /** Finds the databases that are present. */
  readonly discover: () => Promise<void>;
  /** Reads the configuration again; undefined: the watch cannot. */
  readonly reload: (() => Promise<unknown>) | undefined;
}

/** The control socket of one watch: call `refresh` after each discovery. */
export class WatchControl {
  #server: ControlServer | null = null;
  readonly #trouble: Trouble;
  readonly #announced = new Set<WatchTarget>();

  constructor(
    readonly fleet: Fleet,
    readonly report: Pick<WatchReport, "status">,
    readonly context: SharedContext,
    readonly folders: RuntimeFolders,
    readonly renewals: Renewals,
  ) {
    this.#trouble = new Trouble(context.env, { what: "no socket for snapshot and compact", end: null });
  }

  /** Opens the socket unless it is there. Without a place for it there is none, which is logged once. */
  refresh(): void {
    if (this.#server !== null && existsSync(this.#server.path)) return;
    this.#server?.close();
    this.#server = null;
    try {
      this.#server = serveControl(
        this.folders,
        (request, onProgress) => this.#answer(request, onProgress),
        (request) => this.#answerWhole(request),
      );
      this.#trouble.recovered();
    } catch (error) {
      this.#trouble.failed(error);
    }
    for (const target of this.#announced) this.#name(target);
  }

  /** Announces a watched database, so that requests find this watch. */
  announce(target: WatchTarget): void {
    this.#announced.add(target);
    this.#name(target);
  }

  #name(target: WatchTarget): void {
    try {
      this.#server?.announce(this.#addressOf(target));
    } catch (error) {
      // The state folder is being deleted. Announcements are for requests alone and stop no replication.
      this.context.env.log.debug(`not announced: ${errorMessage(error)}`, { database: target.name });
    }
  }

  /** Withdraws the announcement of a database that leaves. */
  withdraw(target: WatchTarget): void {
    if (this.#announced.delete(target)) {
      this.#server?.withdraw(this.#addressOf(target));
    }
  }

  #addressOf({ paths, name, path }: WatchTarget): AnnouncedDatabase {
    return { stateFolder: paths.folder, destination: this.context.store.location, name, path };
  }

  /** Closes the socket and withdraws every announcement. */
  close(): void {
    this.#server?.close();
    this.#server = null;
  }

  /** Answers a request about the whole watch. */
  async #answerWhole(request: WatchRequest): Promise<unknown> {
    const { verb } = request;
    if (verb === "status") return this.report.status();
    if (verb === "sync") return this.#sync(request);
    const { reload } = this.renewals;
    if (verb === "reload" && reload !== undefined) return this.#isMeant(request) ? reload() : null;
    throw new WalrustError("usage", `Unknown request ${JSON.stringify(verb)}`);
  }

  /** Whether a request names the destination of this watch, or none. */
  #isMeant({ destination }: WatchRequest): boolean {
    return destination === undefined || destination === this.context.store.location;
  }

  /** Syncs the chosen databases, if the watch replicates to the destination of the request. */
  async #sync({ names, destination, timeoutMs = SYNC_MS }: WatchRequest): Promise<SyncAnswer> {
    const { url, location } = this.context.store;
    if (destination !== undefined && destination !== location) return { destination: url, databases: [] };
    const { env } = this.context;
    const startMs = env.monotonicMs();
    if (names === undefined) await this.#discover(timeoutMs);
    const leftMs = timeoutMs - (env.monotonicMs() - startMs);
    return { destination: url, databases: await this.fleet.sync(names ?? null, leftMs) };
  }

  /**
   * A database that was created a moment ago is one of all.
   * @throws WalrustError code "database" if the discovery does not end in time, as beside a folder that hangs
   */
  async #discover(timeoutMs: number): Promise<void> {
    let isFound = false;
    const found = new AbortController();
    const discovery = this.renewals.discover().finally(() => found.abort());
    const noted = discovery.then(() => {
      isFound = true;
    });
    await Promise.race([noted, this.context.env.sleep(timeoutMs, found.signal)]);
    if (isFound) return;
    const seconds = Math.round(timeoutMs / 1000);
    throw new WalrustError("database", `The search for databases has not ended in ${seconds} s`, {
      hint: "Name the databases to sync; a folder below the configured paths may not answer",
    });
  }

  async #answer(request: ControlRequest, onProgress: OnWorkProgress): Promise<unknown> {
    const { verb, path, name, destination, given, force } = request;
    const watcher = this.fleet.findOrNull(path, name);
    if (watcher === null) throw new WalrustError("database", `${path ?? name} is not watched`);
    const { location } = this.context.store;
    if (destination !== location) {
      throw new WalrustError(
        "locked",
        `The watch that has ${watcher.target.path} replicates to ${location}`,
        {
          hint: "Give that destination, or stop the watch: a database has one writer and one history",
        },
      );
    }
    if (verb === "checksum") return answerChecksum(watcher);
    const report = atIntervals(onProgress, this.context.env);
    if (verb === "snapshot") {
      const progress = new SnapshotProgress(this.context.store.layout, report);
      return this.#metered(watcher, progress, () => answerSnapshot(watcher, progress));
    }
    const upkeep = given ?? { compaction: {}, retention: {} };
    return this.#metered(watcher, new UpkeepProgress(report), () => watcher.keepUp(upkeep, force === true));
  }

  /** Runs a work on one database while a listener counts its bytes. */
  async #metered<T>({ target }: Watcher, listener: WorkListener, work: () => Promise<T>): Promise<T> {
    const end = this.context.meter.listen(target.name, listener);
    try {
      return await work();
    } finally {
      end();
    }
  }
}
