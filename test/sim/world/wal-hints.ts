/**
 * The events of -wal files in the simulator, in place of inotify. The run reports each action of the
 * application; the seed delays the hint or loses it. An event is only a hint, so a lost one must do no harm.
 */
import { existsSync } from "node:fs";
import { basename, dirname } from "node:path";
import type { OnWalEvent, WalEvents, WalWatch } from "../../../src/database/wal/wal-events.ts";
import type { Chance } from "./chance.ts";
import type { Owner, Scheduler } from "./scheduler.ts";

const LOST = 0.1;
const MEAN_DELAY_MS = 2;

/** The events that one process receives. */
export class WalHints {
  readonly #watches = new Map<WalWatch, string>();
  #next = 1;
  #onEvent: OnWalEvent | null = null;
  /** Events that came before their read. */
  #queue: (() => void)[] = [];
  #isRead = false;

  constructor(
    readonly scheduler: Scheduler,
    readonly owner: Owner,
    readonly chance: Chance,
  ) {}

  /** As `WalEvents.openOrNull`. */
  readonly open = (onEvent: OnWalEvent): WalEvents => {
    this.#onEvent = onEvent;
    return this as unknown as WalEvents;
  };

  watchOrNull(path: string): WalWatch | null {
    if (!existsSync(path)) return null;
    return this.#add(path);
  }

  watchFolderOrNull(path: string): WalWatch | null {
    return this.#add(path);
  }

  unwatch(watch: WalWatch): void {
    this.#watches.delete(watch);
  }

  /** Begins a read, which is over after one event or more. */
  arm(): void {
    this.#isRead = true;
    if (this.#queue.length > 0) this.scheduler.after(0, "read of hints", this.owner, () => this.#readQueue());
  }

  #readQueue(): void {
    if (!this.#isRead || this.#queue.length === 0) return;
    this.#isRead = false;
    for (const event of this.#queue.splice(0)) event();
  }

  close(): void {
    this.#watches.clear();
    this.#queue = [];
  }

  /** The application wrote the WAL of a database, or closed it. */
  wrote(databasePath: string, isClosed: boolean): void {
    this.#tell(`${databasePath}-wal`, isClosed, null);
  }

  /** Somebody removed or replaced a file. */
  replaced(path: string): void {
    this.#tell(dirname(path), false, basename(path));
  }

  #tell(path: string, isClosed: boolean, name: string | null): void {
    for (const [watch, watched] of this.#watches) {
      if (watched !== path || this.chance.is(LOST)) continue;
      this.scheduler.after(this.chance.wait(MEAN_DELAY_MS), `hint ${basename(path)}`, this.owner, () => {
        this.#queue.push(() => {
          if (this.#watches.has(watch)) this.#onEvent?.(watch, isClosed, name);
        });
        this.#readQueue();
      });
    }
  }

  #add(path: string): WalWatch {
    for (const [watch, watched] of this.#watches) if (watched === path) return watch;
    this.#watches.set(this.#next, path);
    return this.#next++;
  }
}
