/**
 * An independent capture as the oracle of the pin. It copies every committed frame out of a pinned database's
 * WAL into a separate image. In the end the image must equal the database file. It shares no code with src.
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import type { Pin } from "../../../src/database/pin/pin.ts";

const WAL_HEADER_SIZE = 32;
const FRAME_HEADER_SIZE = 24;
const TRIES_MAX = 100;

/** An image of the database, built from the frames copied so far. */
export class WalShadow {
  readonly pages = new Map<number, Uint8Array>();
  pageCount = 0;
  /** Number of copied commit frames and of observed WAL generations. */
  commitCount = 0;
  generationCount = 0;
  /** Violations of the pin's guarantee, one sentence each. */
  readonly violations: string[] = [];
  /** How often the change count of the wal-index restarted (a recovery). */
  resetCount = 0;
  /** How often the change count revealed missed commits while `mayMiss` was set. */
  missCount = 0;
  /**
   * Set by a test that released the pin for a moment: commits may be missed, and the shadow reads the image
   * anew.
   */
  mayMiss = false;

  #salts = "";
  #frameCount = 0;
  #checksum: [number, number] = [0, 0];
  #changeCount: number | null = null;
  #needsAnchor = false;

  /** Starts from the database file under the freeze and the WAL over it. */
  constructor(readonly pin: Pin) {
    this.anchor();
    this.commitCount = 0;
  }

  /** Reads the whole image anew. The pin must be frozen. */
  anchor(): void {
    const { pageSizeBytes, databaseFd } = this.pin;
    const file = new Uint8Array(fstatSync(databaseFd).size);
    readSync(databaseFd, file, 0, file.length, 0);
    this.pages.clear();
    for (let offset = 0; offset < file.length; offset += pageSizeBytes) {
      this.pages.set(offset / pageSizeBytes + 1, file.slice(offset, offset + pageSizeBytes));
    }
    this.pageCount = this.pages.size;
    this.#salts = "";
    this.#changeCount = null;
    this.#needsAnchor = false;
    if (!this.#copyNew()) throw new Error("the WAL cannot be read");
  }

  /**
   * Compares the image with the frozen file and the WAL together, and records a violation for each
   * difference.
   */
  verify(): void {
    if (!this.pin.isFrozen || !this.capture() || this.#needsAnchor) return;
    const fresh = new WalShadow(this.pin);
    if (fresh.#changeCount !== this.#changeCount) return;
    const pgnos = new Set([...fresh.pages.keys(), ...this.pages.keys()]);
    for (const pgno of pgnos) {
      const [page, other] = [this.pages.get(pgno), fresh.pages.get(pgno)];
      if (page === undefined || other === undefined || Buffer.compare(page, other) !== 0) {
        this.violations.push(`page ${pgno} of ${fresh.pageCount} differs`);
      }
    }
  }

  /** Copies all new committed frames. @returns false if the wal-index or the WAL kept changing */
  capture(): boolean {
    if (!this.#copyNew()) return false;
    this.mayMiss = false;
    if (this.#needsAnchor && this.pin.isFrozen) this.anchor();
    return true;
  }

  #copyNew(): boolean {
    for (let attempt = 0; attempt < TRIES_MAX; attempt++) {
      const index = this.pin.walIndex();
      if (index === null) continue;
      const salts = `${index.salt1}:${index.salt2}`;
      if (index.mxFrame === 0) {
        this.#countChanges(index.changeCount, 0);
        return true;
      }
      if (this.#copy(salts, index.mxFrame, index.changeCount)) return true;
      const now = this.pin.walIndex();
      if (now !== null && `${now.salt1}:${now.salt2}` === salts) {
        this.violations.push(`a frame up to mxFrame ${index.mxFrame} is not valid`);
        return false;
      }
    }
    return false;
  }

  /** Page numbers where `file` differs from the image, or where only one of them has a page. */
  mismatches(file: Uint8Array): number[] {
    const size = this.pin.pageSizeBytes;
    const differing: number[] = [];
    for (let pgno = 1; pgno <= Math.max(this.pageCount, file.length / size); pgno++) {
      const page = this.pages.get(pgno);
      const other = file.subarray((pgno - 1) * size, pgno * size);
      if (page === undefined || Buffer.compare(page, other) !== 0) differing.push(pgno);
    }
    return differing;
  }

  /** @returns false if the WAL no longer has these salts, or has fewer valid frames */
  #copy(salts: string, mxFrame: number, changeCount: number): boolean {
    const fd = openSync(this.pin.walPath, "r");
    try {
      const isNew = salts !== this.#salts;
      const header = new Uint8Array(WAL_HEADER_SIZE);
      if (readSync(fd, header, 0, WAL_HEADER_SIZE, 0) < WAL_HEADER_SIZE) return false;
      const view = new DataView(header.buffer);
      if (`${view.getUint32(16)}:${view.getUint32(20)}` !== salts) return false;
      const from = isNew ? 0 : this.#frameCount;
      if (mxFrame < from) {
        this.violations.push(`mxFrame went back from ${from} to ${mxFrame}`);
        return false;
      }
      const checksum: [number, number] = isNew ? [view.getUint32(24), view.getUint32(28)] : this.#checksum;
      const frames = this.#readFrames(fd, salts, from, mxFrame, checksum, (view.getUint32(0) & 1) === 1);
      if (frames === null) return false;
      this.#apply(frames.bytes, mxFrame - from, changeCount);
      if (isNew) this.generationCount++;
      this.#salts = salts;
      this.#frameCount = mxFrame;
      this.#checksum = frames.checksum;
      return true;
    } finally {
      closeSync(fd);
    }
  }

  #readFrames(
    fd: number,
    salts: string,
    from: number,
    to: number,
    start: [number, number],
    isBigEndian: boolean,
  ): { bytes: Uint8Array; checksum: [number, number] } | null {
    const frameSize = FRAME_HEADER_SIZE + this.pin.pageSizeBytes;
    const bytes = new Uint8Array((to - from) * frameSize);
    if (readSync(fd, bytes, 0, bytes.length, WAL_HEADER_SIZE + from * frameSize) < bytes.length) return null;
    const view = new DataView(bytes.buffer);
    let [a, b] = start;
    const add = (offset: number, length: number): void => {
      for (let at = offset; at < offset + length; at += 8) {
        a = (a + view.getUint32(at, !isBigEndian) + b) >>> 0;
        b = (b + view.getUint32(at + 4, !isBigEndian) + a) >>> 0;
      }
    };
    for (let at = 0; at < bytes.length; at += frameSize) {
      if (`${view.getUint32(at + 8)}:${view.getUint32(at + 12)}` !== salts) return null;
      add(at, 8);
      add(at + FRAME_HEADER_SIZE, this.pin.pageSizeBytes);
      if (view.getUint32(at + 16) !== a || view.getUint32(at + 20) !== b) return null;
    }
    return { bytes, checksum: [a, b] };
  }

  #apply(bytes: Uint8Array, frameCount: number, changeCount: number): void {
    const frameSize = FRAME_HEADER_SIZE + this.pin.pageSizeBytes;
    const view = new DataView(bytes.buffer);
    let commits = 0;
    let commit = 0;
    for (let index = 0; index < frameCount; index++) {
      const at = index * frameSize;
      commit = view.getUint32(at + 4);
      this.pages.set(view.getUint32(at), bytes.slice(at + FRAME_HEADER_SIZE, at + frameSize));
      if (commit === 0) continue;
      commits++;
      for (let pgno = commit + 1; pgno <= this.pageCount; pgno++) this.pages.delete(pgno);
      this.pageCount = commit;
    }
    if (frameCount > 0 && commit === 0) this.violations.push("mxFrame is no commit frame");
    this.commitCount += commits;
    this.#countChanges(changeCount, commits);
  }

  /** Checks the change count: since the last copy it grew by exactly the copied commits, or it restarted. */
  #countChanges(changeCount: number, commits: number): void {
    const before = this.#changeCount;
    this.#changeCount = changeCount;
    if (before === null) return;
    if (changeCount < before) this.resetCount++;
    else if (changeCount - before !== commits && this.mayMiss) {
      this.missCount++;
      this.#needsAnchor = true;
    } else if (changeCount - before !== commits) {
      this.violations.push(
        `the change count grew by ${changeCount - before}, ${commits} commits were copied`,
      );
    }
  }
}
