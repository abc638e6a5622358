/**
 * Counts the schema of a database without SQLite, and refuses one that is too large.
 *
 * `PRAGMA wal_checkpoint` makes SQLite parse the whole schema first. SQLite's hash table of names has at most
 * some hundred buckets, so 400,000 views take 48 s and 900 MB, during which the process serves no other
 * database. The owner of one watched database could stop all others with each checkpoint. Databases of real
 * applications stay far below the bounds: 50,000 entries take a second.
 *
 * The count walks the b-tree of `sqlite_schema` from page 1. It reads the newest version of each page, from
 * the WAL or the file. A writer may continue meanwhile: then the count belongs to no single commit, which is
 * exact enough for a bound.
 */
import { readSync } from "node:fs";
import { WalrustError } from "../../errors.ts";
import { decodeDatabaseHeader } from "../../format/sqlite-header.ts";
import { WAL_FRAME_HEADER_SIZE, walOffset } from "../../format/wal.ts";
import { closeDescriptor, type FileIdentity, openDescriptor } from "../files/descriptors.ts";
import { openRegularOrNull } from "../files/regular-file.ts";
import { readWalIndexOrNull } from "../files/shm.ts";

/** The bounds of a schema. */
const SCHEMA_ENTRIES_MAX = 50_000;
const SCHEMA_BYTES_MAX = 64 << 20;
const PAGES_MAX = 50_000;

const DATABASE_HEADER_SIZE = 100;
const INTERIOR_TABLE = 0x05;
const LEAF_TABLE = 0x0d;
/** The blocks of the wal-index list the page number of each frame. The first block begins with the header. */
const INDEX_BLOCK_SIZE = 32 * 1024;
const FIRST_BLOCK_OFFSET = 136;
const FIRST_BLOCK_FRAMES = 4062;
const BLOCK_FRAMES = 4096;

/** The counted size of a schema. */
export interface SchemaSize {
  readonly entries: number;
  readonly bytes: number;
  /** Whether it exceeds a bound. The count stops there. */
  readonly isTooLarge: boolean;
}

/** PURE: counts the b-tree at page 1. @param pageOf returns the newest content of a page, or null */
export function countSchema(pageOf: (pgno: number) => Uint8Array | null): SchemaSize {
  const pending = [1];
  let [entries, bytes, pages] = [0, 0, 0];
  while (pending.length > 0) {
    const pgno = pending.pop()!;
    const page = pageOf(pgno);
    if (page === null) continue;
    const view = new DataView(page.buffer, page.byteOffset, page.length);
    const begin = pgno === 1 ? DATABASE_HEADER_SIZE : 0;
    const type = view.getUint8(begin);
    const cells = view.getUint16(begin + 3);
    pages++;
    if (type === INTERIOR_TABLE) {
      pending.push(view.getUint32(begin + 8));
      for (const at of cellsOf(view, begin + 12, cells)) pending.push(view.getUint32(at));
    } else if (type === LEAF_TABLE) {
      entries += cells;
      for (const at of cellsOf(view, begin + 8, cells)) bytes += payloadSize(view, at);
    }
    const isTooLarge =
      entries > SCHEMA_ENTRIES_MAX || bytes > SCHEMA_BYTES_MAX || pages + pending.length > PAGES_MAX;
    if (isTooLarge) return { entries, bytes, isTooLarge };
  }
  return { entries, bytes, isTooLarge: false };
}

/** Offsets of the cells inside the page. */
function* cellsOf(view: DataView, pointers: number, cells: number): Generator<number> {
  for (let cell = 0; cell < cells; cell++) {
    if (pointers + cell * 2 + 2 > view.byteLength) return;
    const at = view.getUint16(pointers + cell * 2);
    if (at + 4 <= view.byteLength) yield at;
  }
}

/** The varint at the beginning of a leaf's cell. */
function payloadSize(view: DataView, at: number): number {
  let size = 0;
  for (let i = at; i < Math.min(at + 8, view.byteLength); i++) {
    const byte = view.getUint8(i);
    size = size * 128 + (byte & 0x7f);
    if (byte < 0x80) break;
  }
  return size;
}

/**
 * Counts the schema of a database. A connection of ours must be open: then no descriptor closes beside it.
 * Null when the files cannot be read now.
 */
export function schemaSizeOrNull(path: string, database: FileIdentity): SchemaSize | null {
  const fds: number[] = [];
  try {
    const databaseFd = openDescriptor(path);
    fds.push(databaseFd);
    const header = new Uint8Array(DATABASE_HEADER_SIZE);
    readSync(databaseFd, header, 0, header.length, 0);
    const { pageSizeBytes } = decodeDatabaseHeader(header);
    const shmFd = openRegularOrNull(`${path}-shm`, true);
    if (shmFd !== null) fds.push(shmFd);
    const walFd = openRegularOrNull(`${path}-wal`, false);
    if (walFd !== null) fds.push(walFd);
    const frames = shmFd === null || walFd === null ? new Map<number, number>() : newestFrames(shmFd);
    return countSchema((pgno) => {
      const page = new Uint8Array(pageSizeBytes);
      const frame = frames.get(pgno);
      const read =
        frame === undefined || walFd === null
          ? readSync(databaseFd, page, 0, page.length, (pgno - 1) * pageSizeBytes)
          : readSync(
              walFd,
              page,
              0,
              page.length,
              walOffset(pageSizeBytes, frame - 1) + WAL_FRAME_HEADER_SIZE,
            );
      return read === page.length ? page : null;
    });
  } catch {
    return null;
  } finally {
    for (const fd of fds) closeDescriptor(database, fd);
  }
}

/** The newest frame of each page, among the frames that no checkpoint has copied yet. */
function newestFrames(shmFd: number): Map<number, number> {
  const newest = new Map<number, number>();
  const index = readWalIndexOrNull(shmFd);
  if (index === null) return newest;
  for (let block = 0, first = 1; first <= index.mxFrame; block++) {
    const count = Math.min(block === 0 ? FIRST_BLOCK_FRAMES : BLOCK_FRAMES, index.mxFrame - first + 1);
    const offset = block * INDEX_BLOCK_SIZE + (block === 0 ? FIRST_BLOCK_OFFSET : 0);
    const pgnos = new Uint32Array(count);
    readSync(shmFd, new Uint8Array(pgnos.buffer), 0, count * 4, offset);
    for (let i = 0; i < count; i++) if (first + i > index.backfilled) newest.set(pgnos[i]!, first + i);
    first += count;
  }
  return newest;
}

/** @throws WalrustError code "database" when the schema exceeds a bound */
export function requireBoundedSchema(path: string, database: FileIdentity): void {
  const size = schemaSizeOrNull(path, database);
  if (size === null || !size.isTooLarge) return;
  const found = `more than ${SCHEMA_ENTRIES_MAX} entries, or more than ${SCHEMA_BYTES_MAX >> 20} MB`;
  throw new WalrustError("database", `Cannot use ${path}: its schema has ${found}`, {
    hint: "Reduce the schema: SQLite parses all of it at each checkpoint, and delays every other database",
    context: { path },
  });
}
