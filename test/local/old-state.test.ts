/** States of format 1: read once, replaced by the first write, and never valid beside a new file. */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Checksum, Txid } from "../../src/format/types.ts";
import { type DatabaseState, readState, writeState } from "../../src/local/state.ts";
import { createStateFolder, type StateFolder, stateFolderOf } from "../../src/local/state-folder.ts";
import { oldReadingOf, writeOldState } from "../support/histories/old-state.ts";
import { tempFolder } from "../support/temp.ts";

const STATE: DatabaseState = {
  destination: "s3://bucket/präfix",
  name: "romneys/app",
  writer: "0123456789abcdef".repeat(2),
  txid: 41 as Txid,
  timeMs: Date.UTC(2026, 2, 1),
  pageSizeBytes: 4096,
  commit: 12,
  checksum: 0x8000000000000001n as Checksum,
  chain: "ab".repeat(32),
  wal: { salt1: 4294967295, salt2: 0, frameCount: 7, checksum1: 1, checksum2: 2 },
  snapshot: { txid: 1 as Txid, timeMs: Date.UTC(2026, 1, 1) },
};

function paths(): StateFolder {
  const made = stateFolderOf(join(tempFolder("state"), "app.db"));
  createStateFolder(made);
  return made;
}

function written(state: DatabaseState = STATE): { folder: StateFolder; bytes: Buffer } {
  const folder = paths();
  writeState(folder, state);
  return { folder, bytes: readFileSync(folder.statePath) };
}

describe("a state of format 1", () => {
  test.each([
    ["with all fields", {}],
    ["without its place", { home: undefined }],
  ])("%s is read, and replaced by the first write", (_, fields) => {
    const folder = paths();
    const file = { inode: "12", sizeBytes: 4096, modifiedNs: "1700000000123456789", bornNs: "17" };
    const state = { ...STATE, file: { ...file, wal: { inode: "13", bornNs: "18" }, restedNs: "19" } };
    writeOldState(folder.statePath, state, fields);
    expect(readState(folder)).toEqual({ kind: "state", state });
    expect(oldReadingOf(readFileSync(folder.statePath))).toBe("state");
    const next = { ...state, txid: 42 as Txid };
    writeState(folder, next);
    expect(readState(folder)).toEqual({ kind: "state", state: next });
    expect(readdirSync(folder.folder).sort()).toEqual(["ltx", "state.json"]);
  });

  test("older versions call the new file lost after every write, never an older state", () => {
    const folder = paths();
    writeOldState(folder.statePath, STATE);
    for (let txid = 42; txid < 46; txid++) {
      writeState(folder, { ...STATE, txid: txid as Txid });
      expect(oldReadingOf(readFileSync(folder.statePath))).toBe("format is 2, expected 1");
    }
  });

  test("an older version replaces the new file, and this version reads what it wrote", () => {
    const { folder } = written();
    const state = { ...STATE, txid: 77 as Txid };
    rmSync(folder.statePath);
    writeOldState(folder.statePath, state);
    expect(readState(folder)).toEqual({ kind: "state", state });
    writeState(folder, { ...state, txid: 78 as Txid });
    expect(readState(folder)).toMatchObject({ state: { txid: 78 } });
  });
});

const BAD_FIELDS: readonly [field: string, value: unknown][] = [
  ["format", 2],
  ["format", 3],
  ["destination", ""],
  ["name", 5],
  ["writer", "0123"],
  ["txid", 0],
  ["txid", 2 ** 53],
  ["txid", "41"],
  ["timeMs", -1],
  ["timeMs", 1.5],
  ["pageSizeBytes", 0],
  ["commit", 0],
  ["checksum", "xyz"],
  ["chain", "ab"],
  ["wal", 7],
  ["wal", {}],
  ["wal", { salt1: -1, salt2: 0, frameCount: 0, checksum1: 0, checksum2: 0 }],
  ["wal", { salt1: 2 ** 32, salt2: 0, frameCount: 0, checksum1: 0, checksum2: 0 }],
  ["wal", undefined],
  ["file", { inode: "x", sizeBytes: 1, modifiedNs: "1" }],
  ["file", { inode: "1", sizeBytes: 1, modifiedNs: "" }],
  ["file", { inode: "1", sizeBytes: 1, modifiedNs: "1", wal: { inode: "1" } }],
  ["snapshot", { txid: "1", timeMs: 0 }],
  ["snapshot", undefined],
  ["home", null],
  ["home", {}],
  ["home", { machine: 5, boot: null, device: "1", inode: "2" }],
  ["home", { machine: null, boot: null, device: "1", inode: 2 }],
];

test.each(BAD_FIELDS)("readState refuses %s = %p of format 1 under a right checksum", (field, value) => {
  const folder = paths();
  writeOldState(folder.statePath, STATE, { [field]: value });
  const reading = readState(folder);
  expect(reading.kind).toBe("lost");
  if (reading.kind === "lost") expect(reading.reason).toContain("state.json");
});
