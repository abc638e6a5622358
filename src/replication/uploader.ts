/**
 * The uploader of one database: sends the pending files in the order of their TXIDs, one at a time, and removes
 * each from the spool when the store has acknowledged it. It never skips one: what cannot be sent stays pending
 * and is tried again. Independent of capture, which never waits for it.
 */
import type { Env } from "../env.ts";
import { errorMessage, WalrustError } from "../errors.ts";
import { listObjects } from "../storage/catalog.ts";
import { buildManifest, writeManifest } from "../storage/manifest.ts";
import type { ObjectStore } from "../storage/store.ts";
import type { LiveDatabase } from "./live-database.ts";
import { foreignWriterError, publish } from "./publish.ts";
import { isSnapshotFile, removeSpoolFile, type SpoolFile } from "./spool.ts";
import type { WatchContext } from "./watch-types.ts";

/** How a run over the pending files ended. */
export type UploadOutcome =
  | { readonly kind: "drained" }
  /** The bucket or the spool contradicts the local state: adopt the bucket's newest TXID. */
  | { readonly kind: "adopt"; readonly reason: string }
  | { readonly kind: "aborted" };

/**
 * Sends pending files until none is left.
 * @throws WalrustError with a storage code when the store refuses after retries; code "foreign-writer" when another
 * writer owns a key
 */
export async function uploadPending(
  live: LiveDatabase,
  context: Pick<WatchContext, "store" | "uploads" | "version" | "env" | "emit">,
  signal: AbortSignal,
): Promise<UploadOutcome> {
  const { store, version, env } = context;
  let hasSnapshot = false;
  for (let file = live.pending[0]; file !== undefined; file = live.pending[0]) {
    if (signal.aborted) return { kind: "aborted" };
    const writer = live.state?.writer;
    if (writer === undefined) return { kind: "aborted" };
    const publisher = { store, name: live.name, writer, version };
    const current = file;
    const outcome = await context.uploads.run(() => publish(publisher, current, signal));
    if (live.pending[0] !== file) return { kind: "aborted" };
    if (outcome.kind === "damaged") return { kind: "adopt", reason: outcome.reason };
    if (outcome.kind === "state-lost") {
      return { kind: "adopt", reason: `${outcome.key} was written by us, from a state that is lost` };
    }
    if (outcome.kind === "foreign-writer") throw foreignWriterError(live.name, outcome.key, outcome.writer);
    live.pending.shift();
    removeSpoolFile(file);
    hasSnapshot ||= isSnapshotFile(file);
    emitUploaded(live, file, outcome, context);
  }
  if (hasSnapshot) await refreshManifest(live, store, env);
  return { kind: "drained" };
}

function emitUploaded(
  live: LiveDatabase,
  file: SpoolFile,
  published: { key: string; timeMs: number },
  context: Pick<WatchContext, "emit" | "env">,
): void {
  context.emit({
    event: "uploaded",
    database: live.name,
    kind: isSnapshotFile(file) ? "snapshot" : "increment",
    txid: file.maxTxid,
    time: new Date(published.timeMs).toISOString(),
    bytes: file.sizeBytes,
    key: published.key,
    lag_ms: Math.max(0, Math.round(context.env.nowMs() - published.timeMs)),
  });
}

/** Rewrites the manifest from a listing. It is only an index: a failure is said and does not stop anything. */
export async function refreshManifest(live: LiveDatabase, store: ObjectStore, env: Env): Promise<void> {
  const { state } = live;
  if (state === null) return;
  try {
    const objects = await listObjects(store, live.name);
    const uploaded = objects.reduce((max, object) => Math.max(max, object.maxTxid), 0);
    if (uploaded !== state.txid) return;
    const { pageSizeBytes, txid, timeMs, chain, writer } = state;
    const mark = { pageSizeBytes, txid, timeMs, chain, writer };
    await writeManifest(store, buildManifest(live.name, objects, mark));
  } catch (error) {
    if (!(error instanceof WalrustError)) throw error;
    env.log.warn(`the manifest could not be written: ${errorMessage(error)}`, { database: live.name });
  }
}
