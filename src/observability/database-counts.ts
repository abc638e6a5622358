/**
 * The counts of one database since the start of the process, or since the database was last found; without
 * `[metrics] per_database`, one object counts for all databases together.
 *
 * Invariant: an idle database keeps one small object. Its parts are made with the first event of their
 * kind.
 */
import type { WatchEvent } from "../replication/context/watch-events.ts";

type EventOf<Name extends WatchEvent["event"]> = Extract<WatchEvent, { event: Name }>;

/** The bounds of the histogram of sync latencies, in seconds. */
export const LATENCY_BOUNDS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60] as const;

/** The times from a capture to the answer of the store. */
export class LatencyHistogram {
  /** Latencies up to each bound and above the bound before it; the last has those above all bounds. */
  readonly counts = new Uint32Array(LATENCY_BOUNDS.length + 1);
  sumSeconds = 0;

  add(seconds: number): void {
    const index = LATENCY_BOUNDS.findIndex((bound) => seconds <= bound);
    this.counts[index === -1 ? LATENCY_BOUNDS.length : index]!++;
    this.sumSeconds += seconds;
  }
}

/** Checkpoints, merges, validations, and what rarely happens. */
export class UpkeepCounts {
  passiveCheckpoints = 0;
  truncateCheckpoints = 0;
  /** The duration of the last checkpoint, or null. */
  checkpointSeconds: number | null = null;
  compactions = 0;
  mergedObjects = 0;
  /** The duration of the last merge, or null. */
  compactionSeconds: number | null = null;
  validationSuccesses = 0;
  validationFailures = 0;
  /** Wall clock of the last validation in ms, or null. */
  lastValidationTimeMs: number | null = null;
  isLastValidationSound = false;
  reAnchors = 0;
  circuitOpenings = 0;

  checkpointed({ type, duration_ms }: EventOf<"checkpointed">): void {
    if (type === "truncate") this.truncateCheckpoints++;
    else this.passiveCheckpoints++;
    this.checkpointSeconds = duration_ms / 1000;
  }

  compacted({ sources, duration_ms }: EventOf<"compacted">): void {
    this.compactions++;
    this.mergedObjects += sources;
    this.compactionSeconds = duration_ms / 1000;
  }

  validated({ status }: EventOf<"validated">, nowMs: number): void {
    this.isLastValidationSound = status !== "errors";
    if (this.isLastValidationSound) this.validationSuccesses++;
    else this.validationFailures++;
    this.lastValidationTimeMs = nowMs;
  }
}

/** `transient`: walrust retries; `permanent`: replication of the database stopped. */
export type ErrorType = "transient" | "permanent";

/** The counts of one database. */
export class DatabaseCounts {
  increments = 0;
  snapshots = 0;
  uploadedBytes = 0;
  latency: LatencyHistogram | null = null;
  upkeep: UpkeepCounts | null = null;
  /** By type and code. */
  errors: Map<string, number> | null = null;

  /** The counts of a database that uploaded one snapshot. */
  static ofSnapshot(sizeBytes: number): DatabaseCounts {
    const counts = new DatabaseCounts();
    counts.snapshots = 1;
    counts.uploadedBytes = sizeBytes;
    return counts;
  }

  /** @param nowMs the wall clock */
  observe(event: WatchEvent, nowMs: number): void {
    switch (event.event) {
      case "uploaded":
        return this.#uploaded(event);
      case "checkpointed":
        return this.#upkeep.checkpointed(event);
      case "compacted":
        return this.#upkeep.compacted(event);
      case "validated":
        return this.#upkeep.validated(event, nowMs);
      case "re-anchored":
        this.#upkeep.reAnchors++;
        return;
      case "circuit-open":
        this.#upkeep.circuitOpenings++;
        return;
      case "failed":
        return this.#failed("transient", event.code);
      case "stopped":
        return this.#failed("permanent", event.code);
    }
  }

  /** The number of failures by type and code. */
  *errorCounts(): Generator<readonly [type: ErrorType, code: string, count: number]> {
    for (const [key, count] of this.errors ?? []) {
      const [type, code] = key.split(" ") as [ErrorType, string];
      yield [type, code, count];
    }
  }

  /** The number of all failures. */
  get errorCount(): number {
    let total = 0;
    for (const count of this.errors?.values() ?? []) total += count;
    return total;
  }

  #uploaded({ kind, bytes, lag_ms }: EventOf<"uploaded">): void {
    this.uploadedBytes += bytes;
    if (kind === "snapshot") {
      this.snapshots++;
      return;
    }
    this.increments++;
    this.latency ??= new LatencyHistogram();
    this.latency.add(lag_ms / 1000);
  }

  get #upkeep(): UpkeepCounts {
    this.upkeep ??= new UpkeepCounts();
    return this.upkeep;
  }

  #failed(type: ErrorType, code: string): void {
    this.errors ??= new Map();
    const key = `${type} ${code}`;
    this.errors.set(key, (this.errors.get(key) ?? 0) + 1);
  }
}
