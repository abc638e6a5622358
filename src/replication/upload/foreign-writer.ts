/**
 * Marks a database whose replication stopped because of another writer: `foreign-writer.json` in its state
 * folder. Without the mark, a supervisor would start the watch again and take the prefix back, the other
 * writer's supervisor would do the same, and both histories would mix.
 *
 * The mark counts for its destination and name, as long as the newest object of the bucket is not ours. A
 * person who decides for this side removes the state folder, and the mark with it.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import type { Env } from "../../env.ts";
import { errorMessage, WalrustError } from "../../errors.ts";
import { readOwnOrNull, replaceOwn } from "../../local/own-file.ts";
import type { StateFolder } from "../../local/state-folder.ts";
import { listObjects, newestObjectOrNull } from "../../storage/bucket/catalog.ts";
import { decodeMetadata } from "../../storage/contract/object-metadata.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";

/** A mark holds two names and a key. */
const MARK_SIZE_MAX = 64 * 1024;

/** A write of another writer at a key of ours. */
export interface ForeignWrite {
  readonly destination: string;
  readonly name: string;
  /** Our writer id at that time. */
  readonly writer: string;
  /** The other writer's id: equal to ours when it has a copy of our state; null if the object names none. */
  readonly otherWriter: string | null;
  readonly key: string;
  /** The TXID that both writers meant to write. */
  readonly txid: number;
}

function markPath(paths: StateFolder): string {
  return join(paths.folder, "foreign-writer.json");
}

/** Writes the mark. Logs a failure, because a restart would take the prefix back then. */
export function recordForeignWriter(paths: StateFolder, found: ForeignWrite, env: Pick<Env, "log">): void {
  const path = markPath(paths);
  try {
    replaceOwn(path, `${JSON.stringify(found)}\n`);
  } catch (error) {
    const text = "cannot record that another writer writes here; a restart would take over";
    env.log.warn(`${text}: ${errorMessage(error)}`, { database: found.name });
  }
}

/**
 * Checks whether the reason of a mark still holds, and removes the mark if not.
 * @throws WalrustError code "foreign-writer" while the newest object is not ours, or a storage code
 */
export async function assertNoForeignWriter(
  name: string,
  paths: StateFolder,
  store: ObjectStore,
  env: Pick<Env, "log">,
): Promise<void> {
  const mark = readMarkOrNull(name, paths, store, env);
  if (mark === null) return;
  const error = await standingErrorOrNull(mark, paths, store);
  if (error !== null) throw error;
  env.log.info("the newest object is not the other writer's any more: continuing", { database: name });
  rmSync(markPath(paths), { force: true });
}

/**
 * The error of `assertNoForeignWriter`, or null. Removes no mark.
 * @throws WalrustError a storage code
 */
export async function foreignWriterOrNull(
  name: string,
  paths: StateFolder,
  store: ObjectStore,
  env: Pick<Env, "log">,
): Promise<WalrustError | null> {
  const mark = readMarkOrNull(name, paths, store, env);
  return mark === null ? null : await standingErrorOrNull(mark, paths, store);
}

/** The error of a mark, or null when its reason does not hold any more. */
async function standingErrorOrNull(
  mark: ForeignWrite,
  paths: StateFolder,
  store: ObjectStore,
): Promise<WalrustError | null> {
  const newest = newestObjectOrNull(await listObjects(store, mark.name));
  if (newest === null) return null;
  const { writer } = decodeMetadata(newest.key, (await store.head(newest.key)).metadata);
  // When both writers have one id, the newest object is ours again only below the other's TXID.
  const isOurs = writer === mark.writer && (mark.otherWriter !== mark.writer || newest.maxTxid < mark.txid);
  return isOurs ? null : stillForeignError(mark, paths, newest.key, writer);
}

/** The mark of this database at this destination, or null. */
function readMarkOrNull(
  name: string,
  paths: StateFolder,
  store: ObjectStore,
  env: Pick<Env, "log">,
): ForeignWrite | null {
  const mark = parseMarkOrNull(paths, name, env);
  return mark?.destination === store.url && mark.name === name ? mark : null;
}

function parseMarkOrNull(paths: StateFolder, name: string, env: Pick<Env, "log">): ForeignWrite | null {
  const path = markPath(paths);
  try {
    const text = readOwnOrNull(path, MARK_SIZE_MAX);
    if (text === null) return null;
    const { destination, name, writer, otherWriter, key, txid } = JSON.parse(text);
    const isWhole = [destination, name, writer, key].every((field) => typeof field === "string");
    if (!isWhole || !Number.isSafeInteger(txid)) throw new Error("it is malformed");
    return { destination, name, writer, otherWriter, key, txid };
  } catch (error) {
    env.log.warn(`${path} cannot be read and is ignored: ${errorMessage(error)}`, { database: name });
    return null;
  }
}

/** The error that stops the replication of a database whose prefix another writer uses. */
export function foreignWriterError(found: ForeignWrite, paths: StateFolder): WalrustError {
  const { name, key, writer, otherWriter } = found;
  const context = { database: name, key, writer: writerText(otherWriter) };
  if (otherWriter === writer) {
    const message = `${key} was written by another process that has a copy of our local state`;
    const rollback = "A machine that was set back while it ran looks the same";
    return new WalrustError("foreign-writer", message, {
      hint: `${hintOf(name, paths)}. ${rollback}`,
      context,
    });
  }
  const message = `${key} was written by another writer (${writerText(otherWriter)}); our id is ${writer}`;
  return new WalrustError("foreign-writer", message, { hint: hintOf(name, paths), context });
}

function stillForeignError(
  mark: ForeignWrite,
  paths: StateFolder,
  key: string,
  writer: string | null,
): WalrustError {
  const who = writer === mark.writer ? "another process with a copy of our local state" : writerText(writer);
  const stillThere = `the newest object, ${key}, is not ours (${who})`;
  const message = `${mark.name} was stopped because of another writer, and ${stillThere}`;
  const context = { database: mark.name, key, writer: writerText(writer) };
  return new WalrustError("foreign-writer", message, { hint: hintOf(mark.name, paths), context });
}

function hintOf(name: string, paths: StateFolder): string {
  const choice = `stop the other one, or give this one another prefix`;
  const takeOver = `to take it over with this database after all, stop the other one, remove ${paths.folder}`;
  const cause = "a walrust whose state folder was deleted counts as another writer, too";
  return `Only one walrust may write ${name}: ${choice}; ${takeOver} and start again (${cause})`;
}

/** A writer id as users see it. */
export function writerText(writer: string | null): string {
  return writer ?? "unknown (Litestream?)";
}
