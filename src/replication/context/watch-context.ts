/**
 * The objects and settings that all watched databases of one process share, and the context of each database.
 */
import type { ReplicationConfig } from "../../config/config.ts";
import type { AttachTarget } from "../../discovery/attach-target.ts";
import type { Env } from "../../env.ts";
import type { WalrustError } from "../../errors.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import type { OutageProbe } from "../../storage/guard/outage-probe.ts";
import type { PutLimiter } from "../../storage/guard/put-limiter.ts";
import type { Semaphore } from "../../storage/guard/semaphore.ts";
import type { BlockingBudget } from "./blocking-budget.ts";
import type { ClosingSignal } from "./closing-signal.ts";
import type { Conditions } from "./conditions.ts";
import type { LoopLoad } from "./loop-load.ts";
import type { OwnWriters } from "./own-writers.ts";
import type { Pushing } from "./pushing.ts";
import type { Validation, WatchEvent } from "./watch-events.ts";
import type { OnImage, WorkMeter } from "./work-meter.ts";

/** Verifies the stored objects of the database with this name, in its own store. */
export type Validate = (name: string, signal: AbortSignal, store: ObjectStore) => Promise<Validation>;

/**
 * The limit on puts, as uploads and the backlog use it: an upload reserves its place before it chooses its
 * file.
 */
export type UploadGate = Pick<PutLimiter, "reserve" | "facts">;

/** The objects and settings that all watched databases of one process share. */
export interface SharedContext {
  readonly store: ObjectStore;
  /** Replaced as a whole when the configuration is read again: read a setting where it is used. */
  config: ReplicationConfig;
  readonly env: Env;
  readonly version: string;
  /** The limit that all puts pass. */
  readonly puts: UploadGate;
  readonly anchors: Semaphore;
  readonly attaches: Semaphore;
  readonly upkeeps: Semaphore;
  /** How long attempts at write locks may block the loop; each database has its own limit if absent. */
  readonly blocking?: BlockingBudget;
  /** How long a pass over all databases takes; absent: not measured. */
  readonly load?: LoopLoad;
  /** The ids that this process has written with. */
  readonly writers: OwnWriters;
  /**
   * Verifies the stored objects of a database: `recovery/` implements it, and replication must not know how.
   */
  readonly validate: Validate;
  /** Aborts when the watch is to end: nothing new begins then. */
  readonly stopping: AbortSignal;
  readonly emit: (event: WatchEvent) => void;
  /** Counts the work on single databases for requests. */
  readonly meter: WorkMeter;
  /**
   * Reports the bytes of the image of a database that were read for an anchor or a snapshot so far, of all.
   */
  readonly onImage?: OnImage | undefined;
  /**
   * Finds another process that replicates another file to the name of a database. Absent: none is searched.
   */
  readonly namesakeOrNull?: (target: AttachTarget, signal: AbortSignal) => Promise<WalrustError | null>;
  /** Conditions of the store that all databases share. */
  readonly storeConditions: Conditions;
  /** How long the store has taken no request; absent: not known. */
  readonly storeSilentMs?: (() => number) | undefined;
  /** Gets each captured file; absent: there are no push replicas. */
  readonly push?: Pushing | undefined;
  /** Finds the end of an outage for all databases at once. */
  readonly outage: OutageProbe;
}

/**
 * The context of one database: the shared one with its own settings, its own conditions, and the store behind
 * its own circuit breaker.
 */
export interface WatchContext extends SharedContext {
  /** Breaks off everything that still runs when the watcher closes, after its drain. */
  readonly closing: ClosingSignal;
  readonly conditions: Conditions;
}
