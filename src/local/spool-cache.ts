/**
 * Uploaded increments that stay in the spool for a while, in its folder `sent`: compaction and restore read
 * them from the disk instead of the network. Snapshots are not kept. A file here is only a copy of an object,
 * so it may be deleted at any time.
 */
import { mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { parseTxid } from "../format/keys.ts";
import type { Txid } from "../format/types.ts";
import {
  isSnapshotFile,
  isTxid,
  openSpoolFileOrNull,
  SENT_FOLDER,
  type SpoolFile,
  spoolFileName,
} from "./spool.ts";

const NAME = /^([0-9a-f]{4})-([0-9a-f]{16})-([0-9a-f]{16})\.ltx$/;

/** Moves an uploaded file aside; a snapshot is removed. */
export function keepSent(folder: string, file: SpoolFile): void {
  if (isSnapshotFile(file)) return rmSync(file.path, { force: true });
  const sentFolder = join(folder, SENT_FOLDER);
  mkdirSync(sentFolder, { recursive: true, mode: 0o700 });
  renameSync(file.path, join(sentFolder, spoolFileName(file.level, file.minTxid, file.maxTxid)));
}

/** The local copy of an object, waiting or sent, or null. */
export function localFileOrNull(
  folder: string,
  object: { level: number; minTxid: Txid; maxTxid: Txid },
): SpoolFile | null {
  const { level, minTxid, maxTxid } = object;
  const name = spoolFileName(level, minTxid, maxTxid);
  return (
    openSpoolFileOrNull(join(folder, SENT_FOLDER, name), level, minTxid, maxTxid) ??
    openSpoolFileOrNull(join(folder, name), level, minTxid, maxTxid)
  );
}

/** What a look at the kept files of one database found. */
export interface SentFiles {
  readonly count: number;
  readonly bytes: number;
}

/**
 * Removes kept files older than `retentionMs`, and then the oldest until at most `bytesMax` are left.
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
    rmSync(file.path, { force: true });
    bytes -= file.sizeBytes;
    count--;
  }
  return { count, bytes };
}

/** The bytes of all kept files. */
export function sentBytes(folder: string): number {
  const sentFolder = join(folder, SENT_FOLDER);
  return sentNames(sentFolder).reduce(
    (sum, { name }) => sum + (statSync(join(sentFolder, name), { throwIfNoEntry: false })?.size ?? 0),
    0,
  );
}

/** The names of kept files, oldest TXID first. */
function sentNames(sentFolder: string): { name: string; minTxid: Txid }[] {
  let names: string[];
  try {
    names = readdirSync(sentFolder);
  } catch {
    // Nothing was ever kept here.
    return [];
  }
  return names
    .map((name) => ({ name, match: NAME.exec(name) }))
    .filter(({ match }) => match !== null && isTxid(match[2]!) && isTxid(match[3]!))
    .map(({ name, match }) => ({ name, minTxid: parseTxid(match![2]!) }))
    .sort((a, b) => a.minTxid - b.minTxid);
}
