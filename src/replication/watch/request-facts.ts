/**
 * Gathers the facts that the requests of other processes wait for (requests/), from the record of a watcher.
 */
import type { WalPoller } from "../capture/wal-poller.ts";
import type { RequestFacts } from "../requests/requests.ts";
import type { Snapshots } from "../upkeep/snapshots.ts";
import type { WatchRecord } from "./watch-record.ts";
import type { WatcherHealth } from "./watcher-health.ts";

/** Gathers what a request waits for at this moment. */
export function gatherRequestFacts(
  record: Readonly<WatchRecord>,
  health: Pick<WatcherHealth, "failure" | "circuit" | "hidden">,
  snapshots: Pick<Snapshots, "taken">,
  { whole, generation }: Pick<WalPoller, "whole" | "generation">,
): RequestFacts {
  const { live, adoptReason } = record.attachment;
  const state = live?.state ?? null;
  return {
    givenUp: record.givenUp,
    isClosing: record.isClosing,
    failure: health.failure,
    isSuspended: health.circuit === "open",
    isAttached: live !== null,
    isReadable: state !== null && record.isFree,
    isJobRunning: record.isJobRunning,
    isAdopting: adoptReason !== null,
    pending: live?.pending ?? null,
    taken: snapshots.taken,
    refused: record.refused,
    isLeaving: record.phase !== "watching",
    hidden: health.hidden,
    isSpoolFull: record.isSpoolFull,
    isSettled: state !== null && !record.isChainHeld && live?.isBucketUnchecked !== true,
    uploadedTxid: state === null ? 0 : record.attachment.progress.uploadedTxid,
    whole,
    generation,
  };
}
