/**
 * Reports the progress of a request to the client that waits for it: of a snapshot first the bytes of the
 * database that are read, then those of the object that are sent; of an upkeep the bytes that it reads from
 * the store.
 */
import type { Env } from "../../env.ts";
import { type KeyLayout, parseObjectKey, SNAPSHOT_LEVEL } from "../../format/keys.ts";
import type { OnWorkProgress, WorkListener, WorkProgress } from "../context/work-meter.ts";
import type { SnapshotResult } from "../upkeep/snapshot-once.ts";

/** A client sees a bar move, and no database is slowed down by the lines. */
const PERIOD_MS = 200;

/** Passes on the first progress of each phase, and at most five a second. */
export function atIntervals(
  onProgress: OnWorkProgress,
  { monotonicMs }: Pick<Env, "monotonicMs">,
): OnWorkProgress {
  let lastMs = Number.NEGATIVE_INFINITY;
  let phase: WorkProgress["phase"] | null = null;
  return (progress) => {
    const nowMs = monotonicMs();
    if (progress.phase === phase && nowMs - lastMs < PERIOD_MS) return;
    [lastMs, phase] = [nowMs, progress.phase];
    onProgress(progress);
  };
}

/** The progress of a snapshot. */
export class SnapshotProgress implements WorkListener {
  /** Bytes that the store has taken, by key: few snapshots are sent while one request waits. */
  readonly #sentBytes = new Map<string, number>();
  /** Whether the requested snapshot is read. */
  #isTaken = false;

  constructor(
    readonly layout: KeyLayout,
    readonly onProgress: OnWorkProgress,
  ) {
    onProgress({ phase: "reading", doneBytes: 0, totalBytes: null });
  }

  image(doneBytes: number, totalBytes: number): void {
    if (!this.#isTaken) this.onProgress({ phase: "reading", doneBytes, totalBytes });
  }

  sent(key: string, byteCount: number): void {
    if (parseObjectKey(this.layout, key)?.level !== SNAPSHOT_LEVEL) return;
    this.#sentBytes.set(key, (this.#sentBytes.get(key) ?? 0) + byteCount);
  }

  /** The requested snapshot is read, and waits for its upload. */
  waitsForUpload({ key, bytes }: SnapshotResult): void {
    this.#isTaken = true;
    // An upload that fails begins anew.
    const doneBytes = Math.min(bytes, this.#sentBytes.get(key) ?? 0);
    this.onProgress({ phase: "uploading", doneBytes, totalBytes: bytes });
  }
}

/** The progress of an upkeep. */
export class UpkeepProgress implements WorkListener {
  #readBytes = 0;

  constructor(readonly onProgress: OnWorkProgress) {}

  read(_key: string, byteCount: number): void {
    this.#readBytes += byteCount;
    this.onProgress({ phase: "reading", doneBytes: this.#readBytes, totalBytes: null });
  }
}
