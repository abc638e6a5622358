/**
 * Compares the bucket with the local state of one database: whether the objects are there that the store has
 * acknowledged, and whether another writer has continued the history. Reads only.
 */
import type { FoundDatabase } from "../../discovery/finder.ts";
import type { Env } from "../../env.ts";
import { asWalrustError, WalrustError } from "../../errors.ts";
import { acknowledgedTxid } from "../../local/spooled-history.ts";
import { readState } from "../../local/state.ts";
import { foreignWriterOrNull, writerText } from "../../replication/upload/foreign-writer.ts";
import {
  type LtxObject,
  levelBegin,
  listLevel,
  listObjects,
  newestObjectOrNull,
} from "../../storage/bucket/catalog.ts";
import { decodeMetadata } from "../../storage/contract/object-metadata.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import type { Checks } from "./check.ts";

/** The surroundings of the comparison. */
export interface BucketFacts {
  readonly store: ObjectStore;
  readonly env: Env;
  readonly signal: AbortSignal;
  /** A running watch uploads meanwhile. */
  readonly isWatched: boolean;
}

/** Checks the objects of one database. */
export async function checkBucket(found: FoundDatabase, facts: BucketFacts, checks: Checks): Promise<void> {
  const { name, paths } = found;
  const { store, env, signal } = facts;
  try {
    const reading = readState(paths);
    if (reading.kind === "none") return await checkNewHost(found, facts, checks);
    if (reading.kind !== "state") return;
    const uploadedTxid = acknowledgedTxid(paths, { destination: store.url, name });
    if (uploadedTxid === 0 || uploadedTxid === "unknown") return;
    const foreign = await foreignWriterOrNull(name, paths, store, env);
    if (foreign !== null) return checks.failure("bucket", foreign);
    const newest = await newestOrNull(store, name, uploadedTxid, signal);
    if (newest === null || newest.maxTxid < uploadedTxid) {
      return checks.failure("bucket", lostError(found, store, uploadedTxid, newest));
    }
    const writer = await writerOf(newest, facts);
    judgeWriter(newest, { writer, own: reading.state.writer, uploadedTxid }, facts, checks);
  } catch (error) {
    if (signal.aborted) throw error;
    checks.failure("bucket", asWalrustError(error));
  }
}

/** A database without a local state: a watch continues the history of its name, whoever wrote it. */
async function checkNewHost({ name }: FoundDatabase, facts: BucketFacts, checks: Checks): Promise<void> {
  const newest = newestObjectOrNull(await listObjects(facts.store, name, facts.signal));
  if (newest === null) return;
  const writer = writerText(await writerOf(newest, facts));
  const message = `the bucket has a history of ${name} up to TXID ${newest.maxTxid}, by writer ${writer}`;
  const hint =
    "Nothing to do on a machine that takes it over: the next watch continues it. If another machine writes " +
    "there, give this database another name or prefix";
  checks.warning("bucket", message, hint);
}

async function writerOf({ key }: LtxObject, { store, signal }: BucketFacts): Promise<string | null> {
  return decodeMetadata(key, (await store.head(key, { signal })).metadata).writer;
}

/** The newest object. Usually one listing of a few keys shows it. */
async function newestOrNull(
  store: ObjectStore,
  name: string,
  uploadedTxid: number,
  signal: AbortSignal,
): Promise<LtxObject | null> {
  const startAfter = levelBegin(store, name, 0, uploadedTxid as LtxObject["minTxid"]);
  const newest = newestObjectOrNull(await listLevel(store, name, 0, { startAfter, signal }));
  if (newest !== null && uploadedTxid > 1) return newest;
  return newestObjectOrNull(await listObjects(store, name, signal));
}

function lostError(
  { name, path }: FoundDatabase,
  store: ObjectStore,
  uploadedTxid: number,
  newest: LtxObject | null,
): WalrustError {
  const found = newest === null ? "has no object of it" : `ends with TXID ${newest.maxTxid}`;
  const message = `TXID ${uploadedTxid} of ${name} was uploaded, but ${store.url} ${found}`;
  return new WalrustError("storage", message, {
    hint:
      "Check that this is the right bucket and prefix, and what deleted the objects (a lifecycle rule, " +
      `another program); then upload a full copy: walrust snapshot ${path}`,
    context: { database: name },
  });
}

/** The writers of the newest object and of the local state. */
interface Writers {
  readonly writer: string | null;
  readonly own: string;
  readonly uploadedTxid: number;
}

function judgeWriter(
  { maxTxid }: LtxObject,
  { writer, own, uploadedTxid }: Writers,
  { isWatched }: BucketFacts,
  checks: Checks,
): void {
  if (writer === own) {
    if (maxTxid === uploadedTxid || isWatched)
      return checks.ok("bucket", `TXID ${maxTxid} is in the bucket, and of this writer`);
    const message = `the bucket is ahead of the local state: TXID ${maxTxid} after ${uploadedTxid}`;
    const hint = "Nothing to do after a power cut; the next watch continues after it with a full file";
    return checks.warning("bucket", message, hint);
  }
  // A restore and a copy continue the history of an earlier writer.
  if (maxTxid === uploadedTxid)
    return checks.ok("bucket", `TXID ${maxTxid} is in the bucket, of an earlier writer`);
  const other = `another writer, ${writerText(writer)},`;
  const message = `${other} wrote TXID ${maxTxid} after TXID ${uploadedTxid} of this one`;
  const hint =
    "Only one walrust may write a name: stop the other one (on another machine, or in another container), " +
    "or give this database another prefix or name";
  if (isWatched) checks.failure("bucket", new WalrustError("foreign-writer", message, { hint }));
  else checks.warning("bucket", message, hint);
}
