/**
 * Remembers the objects of one database in the bucket, for the process that watches the database. The newest
 * objects of each level are in memory, the older ones in a file for each level: a database with a commit each
 * second has 10,000 objects, which would be megabytes of heap for each of hundreds of databases.
 *
 * A record of a file has 36 bytes: four little-endian 64-bit floats, and a little-endian 32-bit CRC.
 *
 *   offset  field
 *        0  min TXID
 *        8  max TXID
 *       16  size in bytes
 *       24  time at which the object was stored, ms since the epoch
 *       32  CRC-32 of the bytes before it
 *
 * Invariants:
 * 1. Records are in ascending order of min TXID, then max TXID, without repetition. Those in memory follow
 *    those in the file.
 * 2. The files belong to this process. Their names are temporary ones, so the next attach sweeps the files of
 *    a process that was killed, and no process ever reads the files of another. Nothing is fsynced.
 * 3. A file that cannot be written or read, or that holds anything but sound records, makes its level
 *    unknown. No call fails.
 */
import { closeSync, fstatSync, readSync, rmSync } from "node:fs";
import { join } from "node:path";
import { SNAPSHOT_LEVEL } from "../format/keys.ts";
import type { Txid } from "../format/types.ts";
import type { ObjectMemory, RememberedObject } from "../storage/contract/object-memory.ts";
import { createTemp, openOwn, openOwnForUpdate, writeWhole } from "./own-file.ts";
import type { StateFolder } from "./state-folder.ts";

const FIELD_COUNT = 4;
const FIELDS_SIZE = FIELD_COUNT * 8;
const RECORD_SIZE = FIELDS_SIZE + 4;
/** The most records of a level in memory; more are written to the file together. */
const IN_MEMORY_MAX = 16;
/** Records that are read at once, from the end of a file. */
const BLOCK_COUNT = 512;

/** The records of one level. */
interface LevelRecords {
  /** Null while all records are in memory. */
  path: string | null;
  fileCount: number;
  /** The fields of the newest records, one after the other. */
  newest: number[];
  /** The last record: a new one follows it. */
  lastMinTxid: number;
  lastMaxTxid: number;
}

/** A level without objects: one record for all databases, because idle ones have little else. */
const EMPTY: Readonly<LevelRecords> = {
  path: null,
  fileCount: 0,
  newest: [],
  lastMinTxid: 0,
  lastMaxTxid: 0,
};

/** Levels 0 to 3 and the snapshots, without the gap between them. */
function slotOf(level: number): number {
  return level === SNAPSHOT_LEVEL ? 4 : level;
}

/** The objects of one database. */
export class ObjectIndex implements ObjectMemory {
  /** By level; a level that is not known is null or missing. Null: no level is known. */
  #levels: (LevelRecords | null)[] | null = null;

  /** @param paths the state folder, in which the files lie */
  constructor(readonly paths: Pick<StateFolder, "folder">) {}

  readOrNull(level: number, fromTxid: number): RememberedObject[] | null {
    return this.#orUnknown(level, (records) => read(records, fromTxid)) ?? null;
  }

  replace(level: number, objects: readonly RememberedObject[]): void {
    this.forget(level);
    this.#levels ??= [];
    this.#levels[slotOf(level)] = EMPTY;
    if (objects.length === 0) return;
    const records: LevelRecords = { ...EMPTY, newest: [] };
    this.#levels[slotOf(level)] = records;
    const sorted = [...objects].sort(byTxids);
    this.#orUnknown(level, () => {
      for (const object of sorted) push(records, object);
      if (sorted.length > IN_MEMORY_MAX) this.#write(level, records);
    });
  }

  add(level: number, object: RememberedObject): void {
    this.#orUnknown(level, (records) => {
      if (records === EMPTY) return this.replace(level, [object]);
      const { lastMinTxid, lastMaxTxid } = records;
      const last = { minTxid: lastMinTxid as Txid, maxTxid: lastMaxTxid as Txid };
      if (byTxids(last, object) >= 0) {
        const others = read(records, 0).filter((other) => byTxids(other, object) !== 0);
        return this.replace(level, [...others, object]);
      }
      push(records, object);
      if (records.newest.length > IN_MEMORY_MAX * FIELD_COUNT) this.#write(level, records);
    });
  }

  remove(level: number, isGone: (object: RememberedObject) => boolean): void {
    this.#orUnknown(level, (records) => {
      const objects = read(records, 0);
      const left = objects.filter((object) => !isGone(object));
      if (left.length < objects.length) this.replace(level, left);
    });
  }

  forget(level: number): void {
    const path = this.#levels?.[slotOf(level)]?.path ?? null;
    if (this.#levels !== null) this.#levels[slotOf(level)] = null;
    if (path === null) return;
    try {
      rmSync(path, { force: true });
    } catch {
      // The next attach sweeps it.
    }
  }

  /** Works on a known level. The level is unknown afterwards if its file does not serve. */
  #orUnknown<T>(level: number, work: (records: LevelRecords) => T): T | undefined {
    const records = this.#levels?.[slotOf(level)] ?? null;
    if (records === null) return undefined;
    try {
      return work(records);
    } catch {
      // A full disk, or a file that is gone: the next listing asks the store.
      this.forget(level);
      return undefined;
    }
  }

  /** Moves the records in memory to the end of the file. */
  #write(level: number, records: LevelRecords): void {
    const bytes = encodeFields(records.newest);
    const isNew = records.path === null;
    const path = records.path ?? join(this.paths.folder, `objects-${level}`);
    const file = isNew ? createTemp(path) : { path, fd: openOwnForUpdate(path) };
    records.path = file.path;
    try {
      writeWhole(file.fd, bytes, records.fileCount * RECORD_SIZE);
    } finally {
      closeSync(file.fd);
    }
    records.fileCount += records.newest.length / FIELD_COUNT;
    records.newest = [];
  }
}

function byTxids(
  a: Pick<RememberedObject, "minTxid" | "maxTxid">,
  b: Pick<RememberedObject, "minTxid" | "maxTxid">,
): number {
  return a.minTxid - b.minTxid || a.maxTxid - b.maxTxid;
}

function push(records: LevelRecords, { minTxid, maxTxid, sizeBytes, storedMs }: RememberedObject): void {
  records.newest.push(minTxid, maxTxid, sizeBytes, storedMs);
  records.lastMinTxid = minTxid;
  records.lastMaxTxid = maxTxid;
}

/** The records from a min TXID on. Only the end of the file is read, as far as it is needed. */
function read({ path, fileCount, newest }: LevelRecords, fromTxid: number): RememberedObject[] {
  const blocks: RememberedObject[][] = [fromFields(newest)];
  const isEnough = (): boolean => (blocks.at(-1)![0]?.minTxid ?? Number.POSITIVE_INFINITY) < fromTxid;
  if (path !== null && !isEnough()) {
    const fd = openOwn(path);
    try {
      if (fstatSync(fd).size !== fileCount * RECORD_SIZE) throw new Error("another size than written");
      for (let end = fileCount; end > 0 && !isEnough(); end -= BLOCK_COUNT) {
        const begin = Math.max(0, end - BLOCK_COUNT);
        blocks.push(fromFields(readFields(fd, begin, end)));
      }
    } finally {
      closeSync(fd);
    }
  }
  return blocks
    .reverse()
    .flat()
    .filter(({ minTxid }) => minTxid >= fromTxid);
}

function readFields(fd: number, begin: number, end: number): number[] {
  const bytes = new Uint8Array((end - begin) * RECORD_SIZE);
  for (let got = 0; got < bytes.length; ) {
    const count = readSync(fd, bytes, got, bytes.length - got, begin * RECORD_SIZE + got);
    if (count === 0) throw new Error("shorter than written");
    got += count;
  }
  return decodeFields(bytes);
}

/** The records of these fields, each with its checksum. */
function encodeFields(fields: readonly number[]): Uint8Array {
  const count = fields.length / FIELD_COUNT;
  const bytes = new Uint8Array(count * RECORD_SIZE);
  const view = new DataView(bytes.buffer);
  for (let record = 0; record < count; record++) {
    const at = record * RECORD_SIZE;
    for (let field = 0; field < FIELD_COUNT; field++) {
      view.setFloat64(at + field * 8, fields[record * FIELD_COUNT + field]!, true);
    }
    view.setUint32(at + FIELDS_SIZE, Bun.hash.crc32(bytes.subarray(at, at + FIELDS_SIZE)), true);
  }
  return bytes;
}

/** @throws Error when a record differs from its checksum */
function decodeFields(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer);
  const fields: number[] = [];
  for (let at = 0; at < bytes.length; at += RECORD_SIZE) {
    if (view.getUint32(at + FIELDS_SIZE, true) !== Bun.hash.crc32(bytes.subarray(at, at + FIELDS_SIZE))) {
      throw new Error("another checksum than written");
    }
    for (let field = 0; field < FIELD_COUNT; field++) fields.push(view.getFloat64(at + field * 8, true));
  }
  return fields;
}

/** @throws Error for fields that no record of ours has */
function fromFields(fields: readonly number[]): RememberedObject[] {
  const objects: RememberedObject[] = [];
  for (let at = 0; at < fields.length; at += FIELD_COUNT) {
    const [minTxid, maxTxid, sizeBytes, storedMs] = fields.slice(at, at + FIELD_COUNT) as [
      Txid,
      Txid,
      number,
      number,
    ];
    const isWhole = [minTxid, maxTxid, sizeBytes].every(Number.isSafeInteger) && Number.isFinite(storedMs);
    if (!isWhole || minTxid < 1 || maxTxid < minTxid || sizeBytes < 0) throw new Error("no record");
    objects.push({ minTxid, maxTxid, sizeBytes, storedMs });
  }
  return objects;
}
