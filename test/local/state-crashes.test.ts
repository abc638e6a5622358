/**
 * Every crash point of a state write. A write that is cut off anywhere leaves the state before it or the
 * state that it wrote, and the next writer continues from what it reads.
 */
import { describe, expect, test } from "bun:test";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import type { Checksum, Txid } from "../../src/format/types.ts";
import { type DatabaseState, readState, writeState } from "../../src/local/state.ts";
import {
  createStateFolder,
  type StateFolder,
  stateFolderAt,
  stateFolderOf,
} from "../../src/local/state-folder.ts";
import { oldReadingOf, writeOldState } from "../support/histories/old-state.ts";
import { cases } from "../support/property-cases.ts";
import { tempFolder } from "../support/temp.ts";

const SLOT_SIZE = 512;

function stateOf(txid: number): DatabaseState {
  const file = { inode: String(txid), sizeBytes: 4096 * txid, modifiedNs: `17${txid}`, bornNs: "18" };
  return {
    destination: "s3://bucket/prefix",
    name: "app",
    writer: "0123456789abcdef".repeat(2),
    txid: txid as Txid,
    timeMs: 1_700_000_000_000 + txid,
    pageSizeBytes: 4096,
    commit: txid,
    checksum: (0x8000000000000000n | BigInt(txid * 977)) as Checksum,
    chain: txid.toString(16).padStart(64, "0"),
    wal: txid % 3 === 0 ? null : { salt1: txid, salt2: 2, frameCount: txid, checksum1: 4, checksum2: 5 },
    ...(txid % 2 === 0 ? { file } : {}),
    snapshot: { txid: 1 as Txid, timeMs: 1_700_000_000_000 },
  };
}

function newFolder(): StateFolder {
  const made = stateFolderOf(join(tempFolder("state"), "app.db"));
  createStateFolder(made);
  return made;
}

/** A process that starts anew remembers nothing of the file. */
function restarted({ folder }: StateFolder): StateFolder {
  return stateFolderAt(folder);
}

function txidOf(folder: StateFolder): number | string {
  const reading = readState(folder);
  if (reading.kind !== "state") return reading.kind;
  expect(reading.state).toEqual(stateOf(reading.state.txid));
  return reading.state.txid;
}

/** The file before and after a write in place. */
function writtenTwice(writes: number): { folder: StateFolder; before: Buffer; after: Buffer; next: number } {
  const folder = newFolder();
  for (let txid = 1; txid <= writes; txid++) writeState(folder, stateOf(txid));
  const before = readFileSync(folder.statePath);
  writeState(folder, stateOf(writes + 1));
  return { folder, before, after: readFileSync(folder.statePath), next: writes + 1 };
}

describe("a state write that is cut off", () => {
  test.each([
    ["the second write", 1],
    ["a write to slot 1", 2],
    ["a write to slot 0", 3],
  ])("%s, after any number of bytes, leaves the state before it", (_, writes) => {
    const { folder, before, after, next } = writtenTwice(writes);
    const start = after.length - 2 * SLOT_SIZE + (next % 2) * SLOT_SIZE;
    const found: (number | string)[] = [];
    for (let count = 0; count <= SLOT_SIZE; count++) {
      const torn = Buffer.from(before);
      after.copy(torn, start, start, start + count);
      writeFileSync(folder.statePath, torn);
      found.push(txidOf(restarted(folder)));
      // The next process continues from what it reads, whatever the torn slot holds.
      const again = restarted(folder);
      txidOf(again);
      writeState(again, stateOf(next + 5));
      expect(txidOf(restarted(folder))).toBe(next + 5);
    }
    expect(found[0]).toBe(next - 1);
    expect(found.at(-1)).toBe(next);
    expect(new Set(found)).toEqual(new Set([next - 1, next]));
    expect(found).toEqual([...found].sort((a, b) => Number(a) - Number(b)));
  });

  test("after any part of its bytes, in any order, leaves one of the two states", () => {
    const { folder, before, after, next } = writtenTwice(4);
    const changed = [...after.keys()].filter((at) => after[at] !== before[at]);
    fc.assert(
      fc.property(fc.subarray(changed), (arrived) => {
        const torn = Buffer.from(before);
        for (const at of arrived) torn[at] = after[at]!;
        writeFileSync(folder.statePath, torn);
        expect(txidOf(folder)).toBe(arrived.length === changed.length ? next : next - 1);
      }),
      cases(300, 5),
    );
  });

  test("one slot of garbage: the other slot counts, whichever it is", () => {
    const { folder, after, next } = writtenTwice(3);
    for (const [slot, expected] of [
      [next % 2, next - 1],
      [(next + 1) % 2, next],
    ] as const) {
      const damaged = Buffer.from(after);
      const start = after.length - 2 * SLOT_SIZE + slot * SLOT_SIZE;
      crypto.getRandomValues(damaged.subarray(start, start + SLOT_SIZE));
      writeFileSync(folder.statePath, damaged);
      expect(txidOf(folder)).toBe(expected);
    }
  });

  test("a slot that the disk shows from a swapped place does not count", () => {
    const { folder, after } = writtenTwice(3);
    const start = after.length - 2 * SLOT_SIZE;
    const [slot0, slot1] = [after.subarray(start, start + SLOT_SIZE), after.subarray(start + SLOT_SIZE)];
    writeFileSync(folder.statePath, Buffer.concat([after.subarray(0, start), slot1, slot0]));
    expect(txidOf(folder)).toBe("lost");
  });
});

describe("a state after a power cut", () => {
  test("any earlier content of the file is the state of that time, and writes continue", () => {
    const folder = newFolder();
    const contents: Buffer[] = [];
    for (let txid = 1; txid <= 6; txid++) {
      writeState(folder, stateOf(txid));
      contents.push(readFileSync(folder.statePath));
    }
    for (const [index, content] of contents.entries()) {
      writeFileSync(folder.statePath, content);
      expect(txidOf(folder)).toBe(index + 1);
      writeState(folder, stateOf(40 + index));
      expect(txidOf(folder)).toBe(40 + index);
    }
  });

  test("each slot from another time: the newer of the two counts", () => {
    const folder = newFolder();
    const contents: Buffer[] = [];
    for (let txid = 1; txid <= 7; txid++) {
      writeState(folder, stateOf(txid));
      contents.push(readFileSync(folder.statePath));
    }
    for (const a of contents) {
      for (const b of contents) {
        const mixed = Buffer.concat([a.subarray(0, -SLOT_SIZE), b.subarray(-SLOT_SIZE)]);
        writeFileSync(folder.statePath, mixed);
        const evens = [0, 2, 4, 6].filter((txid) => txid <= contents.indexOf(a) + 1);
        const odds = [1, 3, 5, 7].filter((txid) => txid <= contents.indexOf(b) + 1);
        expect(txidOf(folder)).toBe(Math.max(evens.at(-1) ?? 0, odds.at(-1) ?? 0));
      }
    }
  });

  test("a file of no bytes, or of zeros, is lost, and the next write makes a whole one", () => {
    const folder = newFolder();
    writeState(folder, stateOf(1));
    const { length } = readFileSync(folder.statePath);
    for (const bytes of [new Uint8Array(0), new Uint8Array(length)]) {
      writeFileSync(folder.statePath, bytes);
      expect(txidOf(folder)).toBe("lost");
      writeState(folder, stateOf(2));
      expect(txidOf(restarted(folder))).toBe(2);
    }
    rmSync(folder.statePath);
    expect(txidOf(folder)).toBe("none");
  });
});

test("states, crashes, restarts, other processes and other versions in any order", () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant("write" as const) }),
    fc.record({ kind: fc.constant("cut" as const), bytes: fc.integer({ min: 0, max: SLOT_SIZE }) }),
    fc.record({ kind: fc.constant("restart" as const) }),
    fc.record({ kind: fc.constant("elsewhere" as const), writes: fc.integer({ min: 1, max: 4 }) }),
    fc.record({ kind: fc.constant("old version" as const) }),
  );
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 25 }), (steps) => {
      let folder = newFolder();
      let txid = 1;
      writeState(folder, stateOf(txid));
      for (const action of steps) {
        if (action.kind === "restart") folder = restarted(folder);
        if (action.kind === "write") writeState(folder, stateOf(++txid));
        if (action.kind === "elsewhere") {
          const other = restarted(folder);
          txidOf(other);
          for (let i = 0; i < action.writes; i++) writeState(other, stateOf(++txid));
          // A process that takes the host lock reads first.
          expect(txidOf(folder)).toBe(txid);
        }
        if (action.kind === "old version") {
          rmSync(folder.statePath);
          writeOldState(folder.statePath, stateOf(++txid));
        }
        if (action.kind === "cut" && oldReadingOf(readFileSync(folder.statePath)) !== "state") {
          const before = readFileSync(folder.statePath);
          writeState(folder, stateOf(txid + 1));
          const after = readFileSync(folder.statePath);
          const changed = [...after.keys()].find((at) => after[at] !== before[at]) ?? 0;
          const start = changed - ((changed - (after.length - 2 * SLOT_SIZE)) % SLOT_SIZE);
          after.copy(before, start, start, start + action.bytes);
          writeFileSync(folder.statePath, before);
          // The process is gone with the write.
          folder = restarted(folder);
          const found = txidOf(folder);
          expect([txid, txid + 1]).toContain(found as number);
          txid = found as number;
        }
        expect(txidOf(restarted(folder))).toBe(txid);
      }
    }),
    cases(150, 8),
  );
});
