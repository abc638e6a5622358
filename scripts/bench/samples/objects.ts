/**
 * The level-0 objects of the databases as they appear in the gateway's folder. The time of an object's
 * appearance is its inode's ctime: the gateway writes a nameless file and links it into the folder when the
 * upload is complete. The time of its capture is in the LTX header; an object holds every commit before it.
 *
 * Both tools merge increments and remove old ones, walrust all but the newest ten. So a log reads each folder
 * every two seconds, a part of the folders at each call.
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { decodeLtxHeader, LTX_HEADER_SIZE } from "../../../src/format/ltx.ts";
import { listObjects } from "../../measure/gateway.ts";

/** Wall-clock times of one object in ms. */
export interface ObjectTimes {
  readonly captureMs: number;
  readonly visibleMs: number;
}

const SWEEP_MS = 2_000;

/** Collects the objects of each database, in the order of their TXIDs. */
export class ObjectLog {
  readonly #newest: string[];
  readonly #folders: readonly string[];
  readonly #startMs = performance.now();
  #readCount = 0;
  /** By database. */
  readonly objects: ObjectTimes[][];

  /** @param folders the level-0 folder of each database, which need not exist yet */
  constructor(folders: readonly string[]) {
    this.#folders = folders;
    this.#newest = folders.map(() => "");
    this.objects = folders.map(() => []);
  }

  /** Reads the folders whose turn it is. */
  readDue(): void {
    const dueCount = Math.floor(((performance.now() - this.#startMs) / SWEEP_MS) * this.#folders.length);
    const firstCount = Math.max(this.#readCount, dueCount - this.#folders.length);
    for (let count = firstCount; count < dueCount; count++) this.#read(count % this.#folders.length);
    this.#readCount = dueCount;
  }

  /** Reads all folders. */
  readAll(): void {
    for (let index = 0; index < this.#folders.length; index++) this.#read(index);
  }

  #read(index: number): void {
    const folder = this.#folders[index]!;
    const known = this.#newest[index]!;
    // Names begin with the TXIDs in hex digits of one length.
    const news = listObjects(folder)
      .filter((name) => name > known)
      .sort();
    for (const name of news) {
      const times = readTimes(join(folder, name));
      if (times === null) continue;
      this.objects[index]!.push(times);
      this.#newest[index] = name;
    }
  }
}

/** Times of an object, or null when it was removed meanwhile. */
function readTimes(path: string): ObjectTimes | null {
  const header = new Uint8Array(LTX_HEADER_SIZE);
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch {
    return null;
  }
  try {
    readSync(fd, header, 0, LTX_HEADER_SIZE, 0);
    const visibleMs = fstatSync(fd).ctimeMs;
    return { captureMs: decodeLtxHeader(header).timestampMs, visibleMs };
  } finally {
    closeSync(fd);
  }
}
