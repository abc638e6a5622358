/**
 * The spool cache: uploaded increments that stay on disk for a while, in the folder `sent` of the spool.
 * Compaction and restore read them instead of the network. Snapshots are not kept. A file here is only a copy
 * of an object, so it may be deleted at any time.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import type { CacheConfig } from "../config/config.ts";
import { systemCode } from "../errors.ts";
import type { Txid } from "../format/types.ts";
import { removeOwn } from "./own-file.ts";
import {
  isSnapshotFile,
  openIntactOrNull,
  openSpoolFileOrNull,
  parseSpoolFileNameOrNull,
  removeSpoolFile,
  SENT_FOLDER,
  type SpoolFile,
  spoolFileName,
} from "./spool.ts";

/** How long uploaded increments stay in the cache, in ms; 0: they are removed at once. */
export function sentRetentionMs({ enabled, retentionMs }: CacheConfig): number {
  return enabled ? retentionMs : 0;
}

/** Moves an uploaded increment into the cache, and removes an uploaded snapshot. */
export function keepSent(folder: string, file: SpoolFile): void {
  if (isSnapshotFile(file)) return removeSpoolFile(file);
  const sentFolder = join(folder, SENT_FOLDER);
  const path = join(sentFolder, spoolFileName(file.level, file.minTxid, file.maxTxid));
  try {
    renameSync(file.path, path);
  } catch (error) {
    // The first file that is kept, or a file that is gone: only a copy is lost then.
    if (systemCode(error) !== "ENOENT") throw error;
    if (!existsSync(file.path)) return;
    mkdirSync(sentFolder, { recursive: true, mode: 0o700 });
    renameSync(file.path, path);
  }
}

/** Whether an uploaded link that ends at `txid` is kept. */
export function isSentKept(folder: string, txid: Txid): boolean {
  return sentNames(join(folder, SENT_FOLDER)).some(({ maxTxid }) => maxTxid === txid);
}

/** An object that may have a copy in the spool. */
export type CopiedObject = Pick<SpoolFile, "level" | "minTxid" | "maxTxid" | "sizeBytes">;

/** The local copy of an object, uploaded or still waiting; null when there is none of this size. */
export function localCopyOrNull(folder: string, object: CopiedObject): SpoolFile | null {
  const { level, minTxid, maxTxid } = object;
  const name = spoolFileName(level, minTxid, maxTxid);
  const file =
    openSpoolFileOrNull(join(folder, SENT_FOLDER, name), level, minTxid, maxTxid) ??
    openSpoolFileOrNull(join(folder, name), level, minTxid, maxTxid);
  return file?.sizeBytes === object.sizeBytes ? file : null;
}

/** The local copy of an object, if its bytes have the SHA-256 in its footer. Reads the whole copy. */
export async function intactCopyOrNull(folder: string, object: CopiedObject): Promise<SpoolFile | null> {
  const name = spoolFileName(object.level, object.minTxid, object.maxTxid);
  const sent = await openIntactOrNull(join(folder, SENT_FOLDER, name), object);
  return sent ?? (await openIntactOrNull(join(folder, name), object));
}

/** The uploaded files that one database keeps. */
export interface SentFiles {
  readonly count: number;
  readonly bytes: number;
}

/**
 * Removes the files older than `retentionMs`, and then the oldest ones until at most `bytesMax` are left.
 * @param nowMs wall clock, as file times are
 */
export function pruneSent(folder: string, retentionMs: number, bytesMax: number, nowMs: number): SentFiles {
  const sentFolder = join(folder, SENT_FOLDER);
  const files: { path: string; sizeBytes: number; modifiedMs: number }[] = [];
  let bytes = 0;
  for (const { name } of sentNames(sentFolder)) {
    const path = join(sentFolder, name);
    const stats = statSync(path, { throwIfNoEntry: false });
    if (stats === undefined) continue;
    files.push({ path, sizeBytes: stats.size, modifiedMs: stats.mtimeMs });
    bytes += stats.size;
  }
  let count = files.length;
  for (const file of files) {
    if (nowMs - file.modifiedMs <= retentionMs && bytes <= bytesMax) break;
    removeOwn(file.path, file.sizeBytes);
    bytes -= file.sizeBytes;
    count--;
  }
  return { count, bytes };
}

/** The total size of the files that are kept, in bytes. */
export function sentBytes(folder: string): number {
  const sentFolder = join(folder, SENT_FOLDER);
  return sentNames(sentFolder).reduce(
    (sum, { name }) => sum + (statSync(join(sentFolder, name), { throwIfNoEntry: false })?.size ?? 0),
    0,
  );
}

/** The names of the files that are kept, oldest TXID first. */
function sentNames(sentFolder: string): { name: string; minTxid: Txid; maxTxid: Txid }[] {
  let names: string[];
  try {
    names = readdirSync(sentFolder);
  } catch {
    // No file was ever kept here.
    return [];
  }
  return names
    .flatMap((name) => {
      const parsed = parseSpoolFileNameOrNull(name);
      return parsed === null ? [] : [{ name, minTxid: parsed.minTxid, maxTxid: parsed.maxTxid }];
    })
    .sort((a, b) => a.minTxid - b.minTxid);
}
