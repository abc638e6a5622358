/**
 * The local state: reading inverts writing, a write goes to the slot that does not count, a state of format 1
 * is read once, and torn and edited files are lost. state-crashes.test.ts cuts writes off.
 */
import { describe, expect, test } from "bun:test";
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { hasCode } from "../../src/errors.ts";
import { type Checksum, TXID_MAX, type Txid } from "../../src/format/types.ts";
import {
  confirmState,
  type DatabaseState,
  giveUpState,
  readState,
  type StateReading,
  writeState,
} from "../../src/local/state.ts";
import {
  createStateFolder,
  type StateFolder,
  stateFolderAt,
  stateFolderOf,
} from "../../src/local/state-folder.ts";
import { isCopied, type StateOrigin } from "../../src/local/state-origin.ts";
import { blockReplacing } from "../support/blocked-path.ts";
import { copyFolderOf } from "../support/histories/copied-folder.ts";
import { rebooted, writeOldState } from "../support/histories/old-state.ts";
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

const OWNER = { destination: STATE.destination, name: STATE.name, writer: STATE.writer };

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

describe("writeState in place", () => {
  const at = (txid: number): DatabaseState => ({ ...STATE, txid: txid as Txid });

  test("writeState changes one slot of the file, in turn, and keeps everything else", () => {
    const { folder } = written();
    const { ino } = statSync(folder.statePath);
    for (let txid = 42; txid < 47; txid++) {
      const before = readFileSync(folder.statePath);
      writeState(folder, at(txid));
      const after = readFileSync(folder.statePath);
      const changed = [...after.keys()].filter((index) => after[index] !== before[index]);
      const slotStart = after.length - 1024 + (txid % 2 === 0 ? 0 : 512);
      expect(changed.every((index) => index >= slotStart && index < slotStart + 512)).toBe(true);
      expect(after.length).toBe(before.length);
      expect(readState(folder)).toEqual({ kind: "state", state: at(txid) });
    }
    expect(statSync(folder.statePath).ino).toBe(ino);
    expect(readdirSync(folder.folder).sort()).toEqual(["ltx", "state.json"]);
  });

  test("writeState opens the file for each write, and keeps no descriptor", () => {
    const { folder } = written();
    const count = (): number => readdirSync("/proc/self/fd").length;
    const before = count();
    for (let txid = 42; txid < 60; txid++) writeState(folder, at(txid));
    expect(count()).toBe(before);
  });

  test("writeState replaces the file when its text changes", () => {
    const { folder } = written();
    for (const change of [{ writer: "f".repeat(32) }, { name: "other" }, { destination: "file:///x" }]) {
      const before = readState(folder);
      const state = { ...at(50), ...(before.kind === "state" ? before.state : {}), ...change };
      const { ino } = statSync(folder.statePath);
      writeState(folder, state);
      expect(readState(folder)).toEqual({ kind: "state", state });
      expect(statSync(folder.statePath).ino).not.toBe(ino);
      expect(readdirSync(folder.folder).sort()).toEqual(["ltx", "state.json"]);
    }
  });

  test("writeState makes a file anew that was removed, replaced or overwritten", () => {
    const { folder } = written();
    const old = readFileSync(folder.statePath);
    const damages: (() => void)[] = [
      () => rmSync(folder.statePath),
      () => writeFileSync(folder.statePath, "mine"),
      () => writeFileSync(folder.statePath, new Uint8Array(old.length + 512)),
      () => {
        rmSync(folder.statePath);
        writeFileSync(folder.statePath, old);
      },
      () => {
        rmSync(folder.statePath);
        symlinkSync(join(folder.folder, "elsewhere"), folder.statePath);
      },
    ];
    for (const [index, damage] of damages.entries()) {
      writeState(folder, at(100 + index));
      damage();
      writeState(folder, at(200 + index));
      expect(readState(folder)).toEqual({ kind: "state", state: at(200 + index) });
      expect(lstatSync(folder.statePath).isFile()).toBe(true);
    }
    expect(existsSync(join(folder.folder, "elsewhere"))).toBe(false);
  });

  test("writeState leaves a file with a second name as it is", () => {
    const { folder } = written();
    const backup = join(tempFolder("backup"), "state.json");
    linkSync(folder.statePath, backup);
    const bytes = readFileSync(backup);
    for (let txid = 42; txid < 45; txid++) writeState(folder, at(txid));
    expect(readFileSync(backup)).toEqual(bytes);
    expect(readState(folder)).toEqual({ kind: "state", state: at(44) });
  });

  // Another process had the host lock meanwhile, and this one still remembers its own last write.
  test("writeState continues after the writes of another process, once the state was read", () => {
    const { folder } = written();
    writeState(folder, at(42));
    const other = stateFolderAt(folder.folder);
    for (let txid = 43; txid < 52; txid++) writeState(other, at(txid));
    expect(readState(folder)).toEqual({ kind: "state", state: at(51) });
    writeState(folder, at(52));
    expect(readState(folder)).toEqual({ kind: "state", state: at(52) });
  });
});

test("readState of a file that the system refuses is no lost state", () => {
  const { folder } = written();
  const inTheWay = { ...folder, folder: folder.folder, statePath: `${folder.statePath}/state.json` };
  const reading = readState(inTheWay);
  expect(reading).toMatchObject({ kind: "refused", error: { code: "database", retryable: true } });
});

test("a state of an earlier boot stays one until the bucket has confirmed it", () => {
  const { folder } = written();
  const asAnotherProcess = (): StateReading => readState(stateFolderAt(folder.folder));
  writeFileSync(folder.statePath, rebooted(readFileSync(folder.statePath)));
  expect(readState(folder)).toMatchObject({ kind: "state", isOfOtherBoot: true });
  for (const txid of [42, 43]) writeState(folder, { ...STATE, txid: txid as Txid });
  expect(asAnotherProcess()).toMatchObject({ state: { txid: 43 }, isOfOtherBoot: true });

  confirmState(folder);
  writeState(folder, { ...STATE, txid: 44 as Txid });
  expect(asAnotherProcess()).toMatchObject({ state: { txid: 44 } });
  expect(asAnotherProcess()).not.toHaveProperty("isOfOtherBoot");
});

describe("readState rejects damage", () => {
  test("readState calls every truncation lost", () => {
    const { folder } = written();
    writeState(folder, { ...STATE, txid: 42 as Txid });
    const bytes = readFileSync(folder.statePath);
    for (let length = 0; length < bytes.length; length++) {
      writeFileSync(folder.statePath, bytes.subarray(0, length));
      expect(readState(folder).kind).toBe("lost");
    }
    writeFileSync(folder.statePath, Buffer.concat([bytes, new Uint8Array(1)]));
    expect(readState(folder).kind).toBe("lost");
  });

  test("readState after a flipped byte is one of the two states, or lost", () => {
    const { folder } = written();
    writeState(folder, { ...STATE, txid: 42 as Txid, wal: null });
    const newer = readState(folder);
    const bytes = readFileSync(folder.statePath);
    const kinds = new Set<string>();
    for (let at = 0; at < bytes.length; at++) {
      for (const mask of [0x01, 0x20, 0x80, 0xff]) {
        const damaged = Buffer.from(bytes);
        damaged[at] = damaged[at]! ^ mask;
        writeFileSync(folder.statePath, damaged);
        const reading = readState(folder);
        // The newer state is in slot 0, the older one in slot 1.
        const slot = at < bytes.length - 1024 ? "head" : at < bytes.length - 512 ? "newer" : "older";
        const is = reading.kind === "state" ? (reading.state.txid === 42 ? "newer" : "older") : reading.kind;
        kinds.add(`${slot}: ${is}`);
        if (is === "newer") expect(reading).toEqual(newer);
        if (is === "older") expect(reading).toEqual({ kind: "state", state: STATE });
      }
    }
    expect([...kinds].sort()).toEqual(["head: lost", "newer: older", "older: newer"]);
  });

  test("readState calls two torn slots, a block of zeros and a folder lost, and does not throw", () => {
    const { folder, bytes } = written();
    for (const start of [0, bytes.length - 1024]) {
      writeFileSync(folder.statePath, Buffer.from(bytes).fill(0, start));
      expect(readState(folder).kind).toBe("lost");
    }
    rmSync(folder.statePath);
    mkdirSync(folder.statePath);
    expect(readState(folder).kind).toBe("lost");
  });

  test("readState takes no slot of another file, though its text is the same", () => {
    const { folder, bytes } = written();
    const other = written({ ...STATE, txid: 9 as Txid });
    const mixed = Buffer.concat([bytes.subarray(0, -1024), other.bytes.subarray(-1024)]);
    writeFileSync(folder.statePath, mixed);
    expect(readState(folder)).toEqual({ kind: "lost", reason: "state.json: no slot is valid", owner: OWNER });
  });

  test("giveUpState leaves no position, and the writer id until the next state is written", () => {
    const { folder } = written();
    giveUpState(folder, OWNER);
    expect(readState(folder)).toMatchObject({ kind: "lost", owner: OWNER });
    const copied = stateFolderOf(copyFolderOf(join(folder.folder, "..", "app.db")));
    expect(readState(copied)).toEqual({ kind: "lost", reason: "state.json: no slot is valid" });
    writeState(folder, STATE);
    expect(readState(folder)).toEqual({ kind: "state", state: STATE });
  });

  test("giveUpState that fails can be retried", () => {
    const { folder } = written();
    const unblock = blockReplacing(folder.statePath);
    expect(() => giveUpState(folder, OWNER)).toThrow("Cannot write");
    unblock();
    expect(readState(folder)).toEqual({ kind: "state", state: STATE });
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

  test("readState reports a restart of the kernel until the state is confirmed and written", () => {
    const { folder, bytes } = written();
    writeFileSync(folder.statePath, rebooted(bytes));
    expect(readState(folder)).toEqual({ kind: "state", state: STATE, isOfOtherBoot: true });
    confirmState(folder);
    writeState(folder, STATE);
    expect(readState(folder)).toEqual({ kind: "state", state: STATE });
  });

  test("readState accepts a state without its place; the next write adds the place", () => {
    const { folder } = written();
    writeOldState(folder.statePath, STATE, { home: undefined });
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
