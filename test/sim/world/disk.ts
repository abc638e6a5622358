/**
 * The disk below walrust's own files and below the databases: knows what was synced, and cuts the power.
 *
 * After a cut each unsynced file of walrust is as it was when it was last synced, or as it is, or torn: each
 * sector is old or new. The kernel writes back by itself from time to time (`writeBack`). Of a WAL, the
 * frames that SQLite has synced stay: under synchronous=NORMAL those that a checkpoint was about to copy. The
 * others are lost from some frame on, or hold garbage. The -shm file is gone.
 */
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Chance } from "./chance.ts";

const SECTOR = 512;
/** Offsets in the -shm: `mxFrame` of the header, `nBackfillAttempted` of the checkpoint record. */
const MX_FRAME_OFFSET = 16;
const ATTEMPTED_OFFSET = 128;
const WAL_HEADER_SIZE = 32;
const FRAME_HEADER_SIZE = 24;

/** The files of walrust below some folders. */
export class Disk {
  #durable = new Map<string, Buffer>();

  constructor(readonly folders: readonly string[]) {}

  /** A file or a folder was synced. A database that walrust syncs is no file of walrust. */
  synced(path: string): void {
    const stats = statSync(path, { throwIfNoEntry: false });
    const isOurs = this.folders.some((folder) => path.startsWith(`${folder}/`));
    if (stats?.isFile() && isOurs) this.#durable.set(path, readFileSync(path));
    if (!stats?.isDirectory()) return;
    for (const known of this.#durable.keys()) {
      if (dirname(known) === path && !existsSync(known)) this.#durable.delete(known);
    }
  }

  /** The kernel writes everything back. */
  writeBack(): void {
    this.#durable = new Map(this.#present());
  }

  /** Cuts the power. @returns one line for each file that is not as it was */
  cut(chance: Chance): string[] {
    const present = new Map(this.#present());
    const synced = new Set([...this.#durable.values()].map((bytes) => bytes.toString("latin1")));
    const contentOf = (path: string): Buffer => present.get(path) ?? this.#durable.get(path) ?? NOTHING;
    const paths = [...new Set([...present.keys(), ...this.#durable.keys()])].sort(
      (a, b) => compareText(untagged(a), untagged(b)) || Buffer.compare(contentOf(a), contentOf(b)),
    );
    const lines: string[] = [];
    for (const path of paths) {
      const now = present.get(path) ?? null;
      const old = this.#durable.get(path) ?? null;
      const next = afterCut(now, old, now !== null && synced.has(now.toString("latin1")), chance);
      if (isSame(next, now)) continue;
      if (next === null) rmSync(path, { force: true });
      else if (existsSync(dirname(path))) writeFileSync(path, next, { mode: 0o600 });
      const size = (bytes: Buffer | null): string => (bytes === null ? "nothing" : `${bytes.length} bytes`);
      lines.push(`${path.split("/").slice(-2).join("/")}: ${size(now)} became ${size(next)}`);
    }
    this.writeBack();
    return lines;
  }

  *#present(): Generator<[string, Buffer]> {
    for (const folder of this.folders) yield* filesBelow(folder);
  }
}

const NOTHING = Buffer.alloc(0);

/** A path without the random part of a temporary name, which no seed repeats. */
function untagged(path: string): string {
  return path.replace(/\.[0-9a-f]{16}\.tmp$/, ".tmp");
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function* filesBelow(folder: string): Generator<[string, Buffer]> {
  if (!existsSync(folder)) return;
  const entries = readdirSync(folder, { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* filesBelow(path);
    else if (entry.isFile()) yield [path, readFileSync(path)];
  }
}

function isSame(a: Buffer | null, b: Buffer | null): boolean {
  return a === null || b === null ? a === b : a.equals(b);
}

function afterCut(now: Buffer | null, old: Buffer | null, isSynced: boolean, chance: Chance): Buffer | null {
  if (isSame(now, old)) return now;
  const fate = chance.below(3);
  if (fate === 0) return now;
  if (fate === 1 || now === null || isSynced) return old;
  return torn(now, old ?? Buffer.alloc(0), chance);
}

/** Each sector is the new one or the old one; a sector that never was is zeros. */
function torn(now: Buffer, old: Buffer, chance: Chance): Buffer {
  const size = chance.is(0.5) ? now.length : Math.min(now.length, chance.below(now.length + 1));
  const result = Buffer.alloc(size);
  for (let offset = 0; offset < size; offset += SECTOR) {
    const source = chance.is(0.5) ? now : old;
    if (offset < source.length) source.copy(result, offset, offset, Math.min(offset + SECTOR, size));
  }
  return result;
}

/**
 * Cuts the power below a database that no process has open any more.
 * @param isFull whether each commit was synced (synchronous=FULL)
 * @returns what was lost
 */
export function cutDatabase(path: string, isFull: boolean, chance: Chance): string {
  const shm = existsSync(`${path}-shm`) ? readFileSync(`${path}-shm`) : null;
  rmSync(`${path}-shm`, { force: true });
  if (shm === null || shm.length <= ATTEMPTED_OFFSET || !existsSync(`${path}-wal`)) return "nothing";
  if (isFull || chance.is(0.3)) return "nothing";
  const wal = readFileSync(`${path}-wal`);
  if (wal.length < WAL_HEADER_SIZE) return "nothing";
  const frameSize = FRAME_HEADER_SIZE + wal.readUInt32BE(8);
  const frameCount = shm.readUInt32LE(MX_FRAME_OFFSET);
  const syncedCount = Math.min(frameCount, shm.readUInt32LE(ATTEMPTED_OFFSET));
  const keptCount = chance.between(syncedCount, frameCount);
  const keptSize = Math.min(wal.length, WAL_HEADER_SIZE + keptCount * frameSize);
  const isCut = chance.is(0.5);
  if (isCut) return cutFile(`${path}-wal`, wal, keptSize, keptCount);
  for (let offset = keptSize; offset < wal.length; offset += SECTOR) {
    if (chance.is(0.5)) wal.fill(0, offset, Math.min(offset + SECTOR, wal.length));
  }
  writeFileSync(`${path}-wal`, wal);
  return `sectors after frame ${keptCount} of ${frameCount}`;
}

function cutFile(path: string, wal: Buffer, keptSize: number, keptCount: number): string {
  writeFileSync(path, wal.subarray(0, keptSize));
  return `all after frame ${keptCount}`;
}
