/**
 * A watch whose databases come and go: a test says what is present, and lets time pass to the next discovery.
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

/** What a test may say beside the store. */
export interface FleetSetup {
  readonly config?: ConfigChange;
  readonly discover?: () => Promise<readonly RunTarget[]>;
  /** As the first discovery finds it; every later one finds `FleetRun.unwatchable`. */
  readonly unwatchable?: readonly Unwatchable[];
  readonly isNamedOnly?: boolean;
  readonly validate?: WatchInput["validate"];
  readonly random?: () => number;
}

/** A target as a glob finds it. */
export function foundTarget(path: string, name: string, spoolFolder?: string): RunTarget {
  return { path, name, paths: stateFolderOf(path, spoolFolder), isDiscovered: true };
}

/** A running watch with discovery. */
export class FleetRun extends WatchRun {
  /** What the next discovery finds. */
  present: RunTarget[];
  /** What it cannot hand over. */
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

  /** The result of a discovery; it is counted when the watch reads it. */
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

  /** Lets time pass until the watch has made the next discovery and taken it in. */
  async discovery(): Promise<void> {
    const [found, takenIn] = [this.discoveryCount, this.#takenInCount];
    this.clock.pass(5_000);
    await this.until("a discovery", () => this.discoveryCount > found && this.#takenInCount > takenIn);
  }

  /** From now on these are present; returns after a discovery has found that out. */
  async find(...targets: RunTarget[]): Promise<void> {
    this.present = targets;
    await this.discovery();
  }

  /** Waits until a database has been let go of. */
  async gone(database: string): Promise<string> {
    await this.until(`${database} let go`, () => this.all("let-go", database).length > 0);
    return this.all("let-go", database).at(-1)!.reason;
  }
}

let template: Promise<string> | null = null;

/** A database file in WAL mode that no connection has open. */
async function templatePath(): Promise<string> {
  const { path, app } = await newDatabase();
  await app.close();
  return path;
}

/** Makes closed databases `<folder>/<name>/app.db`, one a name. @returns the targets a glob would find */
export async function tenants(folder: string, ...names: string[]): Promise<RunTarget[]> {
  // Another test file of this process may have made it, and taken it along when it was done.
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

/** As `tenants`, for one in a folder of its own. */
export async function tenant(name: string): Promise<RunTarget> {
  const [target] = await tenants(tempFolder("fleet"), name);
  if (target === undefined) throw new Error("one name is one target");
  return target;
}

/** The configuration of one database beside others. */
export function ownConfig(change: ConfigChange): ReplicationConfig {
  return configWith(change, CAPTURES_ONLY);
}
