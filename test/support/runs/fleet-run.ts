/**
 * A watch whose databases come and go: a test sets the present databases and advances the clock to the next
 * discovery.
 */
import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import type { ReplicationConfig } from "../../../src/config/config.ts";
import type { Discovered, Unwatchable } from "../../../src/discovery/discovered.ts";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import type { WatchInput } from "../../../src/replication/watch/watch-loop.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { CAPTURES_ONLY, type ConfigChange, configWith } from "../config.ts";
import { ShiftedClock } from "../shifted-clock.ts";
import { tempFolder } from "../temp.ts";
import { newDatabase, type RunTarget, WatchRun } from "./watch-run.ts";

/** Optional parts of a run. */
export interface FleetSetup {
  readonly config?: ConfigChange;
  readonly discover?: () => Promise<readonly RunTarget[]>;
  /** Unwatchable paths of the first discovery; later discoveries give `FleetRun.unwatchable`. */
  readonly unwatchable?: readonly Unwatchable[];
  readonly isNamedOnly?: boolean;
  readonly validate?: WatchInput["validate"];
  readonly openWalEvents?: WatchInput["openWalEvents"];
  readonly random?: () => number;
}

/** A target as a glob finds it. */
export function foundTarget(path: string, name: string, spoolFolder?: string): RunTarget {
  return { path, name, paths: stateFolderOf(path, spoolFolder), isDiscovered: true };
}

/** A running watch with discovery. */
export class FleetRun extends WatchRun {
  /** Targets of the next discovery. */
  present: RunTarget[];
  /** Paths of the next discovery that walrust cannot watch. */
  unwatchable: readonly Unwatchable[];
  discoveryCount = 0;
  #takenInCount = 0;
  readonly clock: ShiftedClock;

  constructor(targets: RunTarget[], store: ObjectStore, setup: FleetSetup = {}) {
    const clock = new ShiftedClock();
    const more = {
      discover: async () => this.#discovered(await (setup.discover ?? (() => this.#find()))()),
      unwatchable: setup.unwatchable ?? [],
      isNamedOnly: setup.isNamedOnly ?? false,
      ...(setup.validate === undefined ? {} : { validate: setup.validate }),
      ...(setup.openWalEvents === undefined ? {} : { openWalEvents: setup.openWalEvents }),
    };
    const { random = Math.random } = setup;
    super(targets, store, setup.config, { ...clock.overrides, random }, more);
    this.clock = clock;
    this.present = targets;
    this.unwatchable = setup.unwatchable ?? [];
  }

  async #find(): Promise<RunTarget[]> {
    this.discoveryCount++;
    return this.present;
  }

  /** The result of a discovery; the run counts the result once the watch reads it. */
  #discovered(targets: readonly RunTarget[]): Discovered<RunTarget> {
    const takeIn = (): void => void this.#takenInCount++;
    return {
      get targets() {
        takeIn();
        return targets;
      },
      unwatchable: this.unwatchable,
    };
  }

  /** Advances the clock until the watch has run and applied the next discovery. */
  async discovery(): Promise<void> {
    const [found, takenIn] = [this.discoveryCount, this.#takenInCount];
    this.clock.pass(5_000);
    await this.until("a discovery", () => this.discoveryCount > found && this.#takenInCount > takenIn);
  }

  /** Sets the present databases and waits until a discovery has found them. */
  async find(...targets: RunTarget[]): Promise<void> {
    this.present = targets;
    await this.discovery();
  }

  /** Waits until the watch stops replicating a database. */
  async gone(database: string): Promise<string> {
    await this.until(`${database} let go`, () => this.all("let-go", database).length > 0);
    return this.all("let-go", database).at(-1)!.reason;
  }
}

let template: Promise<string> | null = null;

/** A closed database file in WAL mode. */
async function templatePath(): Promise<string> {
  const { path, app } = await newDatabase();
  await app.close();
  return path;
}

/**
 * Makes closed databases `<folder>/<name>/app.db`, one for each name.
 * @returns targets as a glob finds them
 */
export async function tenants(folder: string, ...names: string[]): Promise<RunTarget[]> {
  // Another test file in this process may have made the template and removed it with its own folder.
  if (template !== null && !existsSync(await template)) template = null;
  template ??= templatePath();
  const source = await template;
  return names.map((name) => {
    const path = join(folder, name, "app.db");
    mkdirSync(dirname(path), { recursive: true });
    copyFileSync(source, path);
    return foundTarget(path, name);
  });
}

/** Like `tenants`, for one database in a new folder. */
export async function tenant(name: string): Promise<RunTarget> {
  const [target] = await tenants(tempFolder("fleet"), name);
  if (target === undefined) throw new Error("one name is one target");
  return target;
}

/** Own settings of one database among others. */
export function ownConfig(change: ConfigChange): ReplicationConfig {
  return configWith(change, CAPTURES_ONLY);
}
