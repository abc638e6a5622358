/** The local state: reading inverts writing, and rejects torn and edited files. */
import { describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { hasCode } from "../../src/errors.ts";
import { crc64 } from "../../src/format/crc64.ts";
import { type Checksum, TXID_MAX, type Txid } from "../../src/format/types.ts";
import { type DatabaseState, readState, writeState } from "../../src/local/state.ts";
import { createStateFolder, type StateFolder, stateFolderOf } from "../../src/local/state-folder.ts";
import { isCopied, type StateOrigin } from "../../src/local/state-origin.ts";
import { blockReplacing } from "../support/blocked-path.ts";
import { copyFolderOf, editState } from "../support/histories/copied-folder.ts";
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

describe("state files", () => {
  test("stateFolderOf is beside the database and has the name of its file", () => {
    const { folder, statePath, sumsPath, spoolFolder, chosen } = stateFolderOf("/var/lib/app.db");
    expect(chosen).toBeUndefined();
    expect({ folder, statePath, sumsPath, spoolFolder }).toEqual({
      folder: "/var/lib/.app.db-walrust",
      statePath: "/var/lib/.app.db-walrust/state.json",
      sumsPath: "/var/lib/.app.db-walrust/pages.sum",
      spoolFolder: "/var/lib/.app.db-walrust/ltx",
    });
    expect(stateFolderOf("/a/b", "/cache/b").spoolFolder).toBe("/cache/b");
  });

  test("createStateFolder makes folders for the owner alone, and names a folder that it cannot make", () => {
    const made = paths();
    expect(statSync(made.folder).mode & 0o777).toBe(0o700);
    expect(statSync(made.spoolFolder).mode & 0o777).toBe(0o700);
    const file = join(tempFolder("state"), "file");
    writeFileSync(file, "");
    try {
      createStateFolder(stateFolderOf(join(file, "app.db")));
      expect.unreachable();
    } catch (error) {
      expect(hasCode(error, "database")).toBe(true);
      expect(String(error)).toContain(`${file} is a link or no folder`);
    }
  });

  test("writeState then readState gives the state, and leaves no temporary file", () => {
    for (const state of [
      STATE,
      { ...STATE, wal: null, snapshot: null },
      { ...STATE, txid: TXID_MAX, checksum: 0xffffffffffffffffn as Checksum },
    ]) {
      const { folder } = written(state);
      expect(readState(folder)).toEqual({ kind: "state", state });
      expect(readdirSync(folder.folder).sort()).toEqual(["ltx", "state.json"]);
    }
  });

  test("writeState makes the state readable for the owner alone", () => {
    expect(statSync(written().folder.statePath).mode & 0o777).toBe(0o600);
  });

  test("writeState that fails keeps the old state and can be retried", () => {
    const { folder } = written();
    const unblock = blockReplacing(folder.statePath);
    try {
      writeState(folder, { ...STATE, txid: 42 as Txid });
      expect.unreachable();
    } catch (error) {
      expect(hasCode(error, "database") && error.retryable).toBe(true);
    }
    unblock();
    expect(readState(folder)).toEqual({ kind: "state", state: STATE });
    expect(readdirSync(folder.folder).filter((name) => name.endsWith(".tmp"))).toEqual([]);
    writeState(folder, { ...STATE, txid: 42 as Txid });
    expect(readState(folder)).toMatchObject({ state: { txid: 42 } });
  });

  test("readState without a file is none", () => {
    const folder = paths();
    expect(existsSync(folder.statePath)).toBe(false);
    expect(readState(folder)).toEqual({ kind: "none" });
  });
});

describe("readState rejects damage", () => {
  test("readState calls every truncation lost, except a lost last newline", () => {
    const { folder, bytes } = written();
    for (let length = 0; length < bytes.length - 1; length++) {
      writeFileSync(folder.statePath, bytes.subarray(0, length));
      expect(readState(folder).kind).toBe("lost");
    }
    writeFileSync(folder.statePath, bytes.subarray(0, bytes.length - 1));
    expect(readState(folder)).toEqual({ kind: "state", state: STATE });
  });

  test("readState calls every flipped byte lost", () => {
    const { folder, bytes } = written();
    for (let at = 0; at < bytes.length; at++) {
      for (const mask of [0x01, 0x20, 0x80, 0xff]) {
        const damaged = Buffer.from(bytes);
        damaged[at] = damaged[at]! ^ mask;
        writeFileSync(folder.statePath, damaged);
        const reading = readState(folder);
        if (reading.kind !== "lost") expect(`byte ${at} ^ ${mask}: ${reading.kind}`).toBe("lost");
      }
    }
  });

  test("readState calls a block of zeros and a folder lost, and does not throw", () => {
    const { folder, bytes } = written();
    writeFileSync(folder.statePath, new Uint8Array(bytes.length));
    expect(readState(folder).kind).toBe("lost");
    rmSync(folder.statePath);
    mkdirSync(folder.statePath);
    expect(readState(folder).kind).toBe("lost");
  });

  const BAD_FIELDS: readonly [field: string, value: unknown][] = [
    ["format", 2],
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
    ["wal", undefined],
    ["snapshot", { txid: "1", timeMs: 0 }],
    ["snapshot", undefined],
    ["home", null],
    ["home", {}],
    ["home", { machine: 5, boot: null, device: "1", inode: "2" }],
    ["home", { machine: null, boot: null, device: "1", inode: 2 }],
  ];

  test.each(BAD_FIELDS)("readState refuses %s = %p under a right checksum", (field, value) => {
    const { folder, bytes } = written();
    const body = JSON.stringify({ ...JSON.parse(bytes.toString().split("\n")[0]!), [field]: value });
    const checksum = crc64(new TextEncoder().encode(body)).toString(16).padStart(16, "0");
    writeFileSync(folder.statePath, `${body}\n${checksum}\n`);
    const reading = readState(folder);
    expect(reading.kind).toBe("lost");
    if (reading.kind === "lost") expect(reading.reason).toContain("state.json");
  });
});

describe("readState of a state in another place", () => {
  function kindOf(folder: StateFolder): string {
    const reading = readState(folder);
    return reading.kind === "state" && reading.isCopy === true ? "copy" : reading.kind;
  }

  test("readState detects a copied folder, and accepts a renamed one", () => {
    const { folder } = written();
    const copied = stateFolderOf(copyFolderOf(join(folder.folder, "..", "app.db")));
    expect([kindOf(folder), kindOf(copied)]).toEqual(["state", "copy"]);
    const moved = stateFolderOf(join(tempFolder("moved"), "other.db"));
    renameSync(folder.folder, moved.folder);
    expect(kindOf(moved)).toBe("state");
    writeState(copied, STATE);
    expect(kindOf(copied)).toBe("state");
  });

  test("readState accepts a state without its place; the next write adds the place", () => {
    const { folder } = written();
    editState(folder.statePath, { home: undefined });
    const old = stateFolderOf(copyFolderOf(join(folder.folder, "..", "app.db")));
    expect(readState(old)).toEqual({ kind: "state", state: STATE });
    writeState(old, STATE);
    expect(kindOf(stateFolderOf(copyFolderOf(join(old.folder, "..", "app.db"))))).toBe("copy");
  });
});

describe("isCopied", () => {
  const HOME: StateOrigin = { machine: "m", boot: "b", device: "1", inode: "2" };
  const CASES: readonly [what: string, now: Partial<StateOrigin>, isCopy: boolean][] = [
    ["a restart", {}, false],
    ["another folder", { inode: "3" }, true],
    ["another device in the same boot", { device: "9" }, true],
    ["a reboot, with other device numbers", { boot: "c", device: "9" }, false],
    ["a container made anew in the same boot", { machine: "n" }, false],
    ["another machine", { machine: "n", boot: "c" }, true],
    ["a container without a machine id after a reboot", { machine: null, boot: "c" }, false],
    ["a system that tells neither", { machine: null, boot: null, device: "9" }, false],
  ];

  test.each(CASES)("isCopied of %s", (_, now, isCopy) => {
    expect(isCopied(HOME, { ...HOME, ...now })).toBe(isCopy);
  });

  test("isCopied does not take two unknown boots for one boot", () => {
    const home = { ...HOME, boot: null };
    expect(isCopied(home, { ...home, device: "9" })).toBe(false);
    expect(isCopied(home, { ...home, machine: "n" })).toBe(true);
  });
});
