/**
 * The WAL codec against WALs written by sqlite3 and listed by a reader in Python, in both byte orders of the
 * checksum.
 */
import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import {
  decodeWalHeader,
  scanFrames,
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
  type WalCursor,
  type WalEnd,
  walChecksum,
  walCursor,
  walOffset,
} from "../../src/format/wal.ts";
import { cases } from "../support/property-cases.ts";
import { peerPath, testWith } from "../support/servers/peers.ts";
import { tempFolder } from "../support/temp.ts";
import { expectRefusal, vector } from "./samples.ts";

const NAMES = ["wal-512", "wal-4096", "wal-65536", "wal-4096-big-endian", "wal-512-restarted"];
const UNLIMITED = Number.MAX_SAFE_INTEGER;

interface Scanned {
  readonly frames: [number, number][];
  readonly end: WalEnd;
  readonly cursor: WalCursor;
}

/** The frames found by the reader in Python. */
function listed(name: string): { pageSizeBytes: number; frames: [number, number][] } {
  return JSON.parse(new TextDecoder().decode(vector(`${name}.frames.json`)));
}

function scan(wal: Uint8Array, limitFrames = UNLIMITED): Scanned {
  const header = decodeWalHeader(wal);
  const cursor = walCursor(header);
  const frames: [number, number][] = [];
  const chunk = wal.subarray(WAL_HEADER_SIZE);
  const { end } = scanFrames(header, cursor, chunk, limitFrames, (pgno, commit) =>
    frames.push([pgno, commit]),
  );
  return { frames, end, cursor };
}

/** Applies the valid frames up to the last commit to the database `base`. */
function applyWal(base: Uint8Array, wal: Uint8Array): Uint8Array {
  const header = decodeWalHeader(wal);
  const chunk = wal.subarray(WAL_HEADER_SIZE);
  const size = header.pageSizeBytes;
  let image = base;
  let pending: [number, number][] = [];
  scanFrames(header, walCursor(header), chunk, UNLIMITED, (pgno, commit, at) => {
    pending.push([pgno, at]);
    if (commit === 0) return;
    const next = new Uint8Array(commit * size);
    next.set(image.subarray(0, next.length));
    for (const [page, offset] of pending) next.set(chunk.subarray(offset, offset + size), (page - 1) * size);
    image = next;
    pending = [];
  });
  return image;
}

/** The database file beside a WAL, with at least its first page: SQLite ignores the WAL of an empty file. */
function baseOf(name: string, wal: Uint8Array): Uint8Array {
  if (name === "wal-512-restarted") return vector(`${name}.db`);
  return applyWal(new Uint8Array(0), wal).slice(0, decodeWalHeader(wal).pageSizeBytes);
}

describe("scanFrames", () => {
  for (const name of NAMES) {
    test(`finds in ${name} the frames that an independent reader finds`, () => {
      const wal = vector(`${name}.wal`);
      const { frames, end } = scan(wal);
      expect(frames).toEqual(listed(name).frames);
      expect(end).toBe(name === "wal-512-restarted" ? "salt" : "end");
    });

    testWith("sqlite3")(`finds in ${name} the database that SQLite recovers from it`, async () => {
      const wal = vector(`${name}.wal`);
      const base = baseOf(name, wal);
      const path = join(tempFolder("wal"), "app.db");
      writeFileSync(path, base);
      writeFileSync(`${path}-wal`, wal);
      const sql = "PRAGMA integrity_check; SELECT count(*) > 20 FROM t; PRAGMA wal_checkpoint(TRUNCATE);";
      const result = Bun.spawnSync([peerPath("sqlite3"), path, sql]);
      expect(result.stdout.toString()).toBe("ok\n1\n0|0|0\n");
      expect(Buffer.compare(await Bun.file(path).bytes(), applyWal(base, wal))).toBe(0);
    });
  }

  test("gives the place of the page, and passes over whole frames only", () => {
    const wal = vector("wal-512.wal");
    const header = decodeWalHeader(wal);
    const offsets: number[] = [];
    const chunk = wal.subarray(WAL_HEADER_SIZE);
    scanFrames(header, walCursor(header), chunk, 3, (_pgno, _commit, offset) => offsets.push(offset));
    expect(offsets).toEqual(
      [0, 1, 2].map((index) => walOffset(512, index) - WAL_HEADER_SIZE + WAL_FRAME_HEADER_SIZE),
    );
  });

  test("ends without frames for an empty chunk, or with a limit of 0", () => {
    const header = decodeWalHeader(vector("wal-512.wal"));
    const cursor = walCursor(header);
    const none = () => expect.unreachable();
    expect(scanFrames(header, cursor, new Uint8Array(0), UNLIMITED, none)).toEqual({ frames: 0, end: "end" });
    expect(scanFrames(header, cursor, new Uint8Array(99), 0, none)).toEqual({ frames: 0, end: "end" });
    expect(cursor).toEqual(walCursor(header));
  });

  test("resumes from a cursor: any chunking of whole frames finds the same, at any alignment", () => {
    const wal = vector("wal-512.wal");
    const header = decodeWalHeader(wal);
    const whole = scan(wal);
    const property = fc.property(fc.array(fc.integer({ min: 1, max: 6 })), fc.nat(7), (counts, shift) => {
      const cursor = walCursor(header);
      const frames: [number, number][] = [];
      for (const count of [...counts, UNLIMITED]) {
        const at = walOffset(512, cursor.frameCount);
        const shifted = new Uint8Array(shift + wal.length - at);
        shifted.set(wal.subarray(at), shift);
        scanFrames(header, cursor, shifted.subarray(shift), count, (pgno, commit) =>
          frames.push([pgno, commit]),
        );
      }
      expect(frames).toEqual(whole.frames);
      expect(cursor).toEqual(whole.cursor);
    });
    fc.assert(property, cases(60, 5));
  });

  test("of every truncated WAL ends as short, after the whole frames", () => {
    const wal = vector("wal-512.wal");
    const { frames } = listed("wal-512");
    for (let size = WAL_HEADER_SIZE; size <= wal.length; size++) {
      const found = scan(wal.subarray(0, size));
      const count = Math.floor((size - WAL_HEADER_SIZE) / (512 + WAL_FRAME_HEADER_SIZE));
      expect(found.frames.length).toBe(count);
      expect(found.cursor.frameCount).toBe(count);
      expect(found.end).toBe(size === walOffset(512, count) ? "end" : "short-frame");
    }
    expect(scan(wal).frames).toEqual(frames);
  });

  for (const name of ["wal-512", "wal-4096-big-endian"]) {
    test(`of ${name} with any one byte flipped ends at the flipped frame`, () => {
      const wal = vector(`${name}.wal`);
      const { pageSizeBytes } = listed(name);
      // Every byte of the small WAL; of the larger one each header byte and some bytes of each page.
      const step = name === "wal-512" ? 1 : 7;
      for (let at = WAL_HEADER_SIZE; at < wal.length; at += step) {
        const flipped = wal.slice();
        flipped[at]! ^= 1 << (at % 8);
        const index = Math.floor((at - WAL_HEADER_SIZE) / (pageSizeBytes + WAL_FRAME_HEADER_SIZE));
        const found = scan(flipped);
        if (found.frames.length !== index || !["salt", "checksum", "page-0"].includes(found.end)) {
          expect({ at, frames: found.frames.length, end: found.end }).toEqual({
            at,
            frames: index,
            end: "checksum",
          });
        }
      }
    });
  }

  test("rejects a wrong salt, page 0 and a wrong checksum by name", () => {
    const change = (at: number, byte: number): WalEnd => {
      const wal = vector("wal-512.wal");
      wal[walOffset(512, 1) + at] = byte;
      return scan(wal).end;
    };
    const second = vector("wal-512.wal").subarray(walOffset(512, 1));
    expect(change(8, second[8]! ^ 1)).toBe("salt");
    expect(change(15, second[15]! ^ 1)).toBe("salt");
    expect(change(3, 0)).toBe("page-0");
    expect(change(16, second[16]! ^ 1)).toBe("checksum");
    expect(change(100, second[100]! ^ 1)).toBe("checksum");
  });
});

describe("decodeWalHeader", () => {
  test("reads the fields of the file", () => {
    const wal = vector("wal-4096.wal");
    const view = new DataView(wal.buffer);
    expect(decodeWalHeader(wal)).toEqual({
      bigEndianChecksum: false,
      pageSizeBytes: 4096,
      checkpointSequence: view.getUint32(12),
      salt1: view.getUint32(16),
      salt2: view.getUint32(20),
      checksum1: view.getUint32(24),
      checksum2: view.getUint32(28),
    });
    expect(decodeWalHeader(vector("wal-4096-big-endian.wal")).bigEndianChecksum).toBe(true);
    expect(decodeWalHeader(vector("wal-512-restarted.wal")).checkpointSequence).toBe(1);
  });

  test("rejects every truncation", () => {
    const wal = vector("wal-512.wal");
    for (let size = 0; size < WAL_HEADER_SIZE; size++) {
      expectRefusal(() => decodeWalHeader(wal.subarray(0, size)), "corrupt", `at byte ${size}: it ends`);
    }
  });

  test("rejects every single-byte flip", () => {
    for (const name of NAMES) {
      for (let at = 0; at < WAL_HEADER_SIZE; at++) {
        for (let bit = 0; bit < 8; bit++) {
          const wal = vector(`${name}.wal`).slice(0, WAL_HEADER_SIZE);
          wal[at]! ^= 1 << bit;
          expectRefusal(() => decodeWalHeader(wal), "corrupt", "Cannot decode WAL header");
        }
      }
    }
  });

  const changes: [string, number, number, string][] = [
    ["another magic", 0, 0x12345678, "at byte 0: magic is 0x12345678"],
    ["another version", 4, 3007001, "at byte 4: version is 3007001, expected 3007000"],
    ["a page size that is no power of two", 8, 1000, "at byte 8: page size is 1000"],
    ["a page size above 65536", 8, 131072, "at byte 8: page size is 131072"],
    ["a wrong checksum", 24, 1, "at byte 24: checksum is 1"],
  ];
  for (const [name, at, value, text] of changes) {
    test(`rejects ${name}`, () => {
      const wal = vector("wal-512.wal");
      new DataView(wal.buffer).setUint32(at, value);
      expectRefusal(() => decodeWalHeader(wal), "corrupt", text);
    });
  }
});

describe("walChecksum", () => {
  test("of no bytes is its start value", () => {
    expect(walChecksum(new Uint8Array(0), false, 5, 0xffffffff)).toEqual({
      checksum1: 5,
      checksum2: 0xffffffff,
    });
  });

  test("continues from a start value, also beyond the scratch memory, and wraps at 2^32", () => {
    const bytes = new Uint8Array(200_000).fill(0xee);
    const first = walChecksum(bytes.subarray(0, 160_008), true, 0, 0);
    const both = walChecksum(bytes.subarray(160_008), true, first.checksum1, first.checksum2);
    expect(both).toEqual(walChecksum(bytes, true, 0, 0));
    expect(both.checksum1).toBeLessThan(2 ** 32);
  });
});
