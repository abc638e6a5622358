/** The spool: the footer, its rejections, the leftovers of a crash, and agreement with the state. */
import { describe, expect, test } from "bun:test";
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { hasCode } from "../../src/errors.ts";
import { CHAIN_ZERO, hex, nextChain } from "../../src/format/chain.ts";
import type { Txid } from "../../src/format/types.ts";
import {
  clearSpool,
  isIntact,
  loadSpool,
  openSpoolFileOrNull,
  removeSpoolFile,
  type SpoolFile,
  SpoolWriter,
  spoolChunks,
  uploadedTxidOf,
} from "../../src/local/spool.ts";
import { tempFolder } from "../support/temp.ts";

const FOOTER_SIZE = 112;
/** A file with more bytes is not held in memory. */
const LARGE_SIZE = 64 << 10;

function sha256(...parts: Uint8Array[]): Uint8Array {
  const hasher = new Bun.CryptoHasher("sha256");
  for (const part of parts) hasher.update(part);
  return new Uint8Array(hasher.digest());
}

/** Links 1 (a first snapshot) to `count` in a new folder. */
function spoolOf(count: number): { folder: string; files: SpoolFile[]; head: string } {
  const folder = tempFolder("spool");
  const files: SpoolFile[] = [];
  let previousChain = CHAIN_ZERO;
  for (let txid = 1; txid <= count; txid++) {
    const writer = new SpoolWriter(folder, txid === 1 ? 9 : 0, txid as Txid, txid as Txid);
    writer.write(new TextEncoder().encode(`content of ${txid}, `));
    writer.write(new Uint8Array(txid * 10).fill(txid));
    const file = writer.finish({ previousChain });
    previousChain = file.chain;
    files.push(file);
  }
  return { folder, files, head: hex(previousChain) };
}

function load(folder: string, headTxid: number, head: string): ReturnType<typeof loadSpool> {
  return loadSpool(folder, headTxid as Txid, head);
}

describe("SpoolWriter", () => {
  test("finish writes the LTX bytes and the footer of the specification", () => {
    const folder = tempFolder("spool");
    const writer = new SpoolWriter(folder, 0, 2 as Txid, 2 as Txid);
    const chunk = Buffer.from("hello ");
    writer.write(chunk);
    chunk.fill("x");
    writer.write(Buffer.from("world"));
    expect(readdirSync(folder)).toEqual([]);
    const previousChain = new Uint8Array(32).fill(7);
    const file = writer.finish({ previousChain });
    expect(readdirSync(folder)).toEqual(["0000-0000000000000002-0000000000000002.ltx"]);
    const bytes = readFileSync(file.path);
    const digest = sha256(Buffer.from("hello world"));
    const size = new Uint8Array(8);
    size[7] = 11;
    const expected = [
      Buffer.from("hello world"),
      size,
      digest,
      previousChain,
      sha256(previousChain, digest),
      Buffer.from("WALRUST1"),
    ];
    expect(bytes).toEqual(Buffer.concat(expected));
    expect(bytes.length - file.sizeBytes).toBe(FOOTER_SIZE);
    expect(file).toMatchObject({ level: 0, minTxid: 2, maxTxid: 2, sizeBytes: 11 });
    expect(statSync(file.path).mode & 0o777).toBe(0o600);
  });

  test("finish of a later snapshot carries the given chain value and no link", () => {
    const writer = new SpoolWriter(tempFolder("spool"), 9, 1 as Txid, 5 as Txid);
    const chain = new Uint8Array(32).fill(9);
    const file = writer.finish({ chain });
    expect([hex(file.previousChain), hex(file.chain)]).toEqual([hex(CHAIN_ZERO), hex(chain)]);
  });

  test("a larger file grows under a temporary name", () => {
    const folder = tempFolder("spool");
    const content = new Uint8Array(3 * LARGE_SIZE).map((_, index) => index % 251);
    const writer = new SpoolWriter(folder, 0, 2 as Txid, 2 as Txid);
    for (let at = 0; at < content.length; at += 1_000) writer.write(content.subarray(at, at + 1_000));
    const [temp, ...others] = readdirSync(folder);
    expect(temp).toMatch(/^0000-0{15}2-0{15}2\.ltx\.[0-9a-f]{16}\.tmp$/);
    expect(others).toEqual([]);
    expect(statSync(join(folder, temp!)).mode & 0o777).toBe(0o600);
    const file = writer.finish({ previousChain: CHAIN_ZERO });
    expect(readdirSync(folder)).toEqual(["0000-0000000000000002-0000000000000002.ltx"]);
    expect(Buffer.concat([...spoolChunks(file)].map((chunk) => Buffer.from(chunk)))).toEqual(
      Buffer.from(content),
    );
    expect(hex(file.sha256)).toBe(hex(sha256(content)));
  });

  test.each([1, LARGE_SIZE + 1])("finish replaces a file of the same name as a whole (%i bytes)", (size) => {
    const folder = tempFolder("spool");
    const path = join(folder, "0000-0000000000000002-0000000000000002.ltx");
    writeFileSync(path, "left by a capture that no state names, and longer than the new one".repeat(9));
    const old = openSync(path, "r");
    const writer = new SpoolWriter(folder, 0, 2 as Txid, 2 as Txid);
    writer.write(new Uint8Array(size).fill(7));
    const file = writer.finish({ previousChain: CHAIN_ZERO });
    expect(readdirSync(folder).length).toBe(1);
    expect(openSpoolFileOrNull(path, 0, 2 as Txid, 2 as Txid)).toEqual(file);
    // A reader of the old file does not see the new bytes.
    expect(fstatSync(old).size).toBe(594);
    closeSync(old);
  });

  test.each([1, LARGE_SIZE + 1])("discard leaves no file (%i bytes)", (size) => {
    const folder = tempFolder("spool");
    const writer = new SpoolWriter(folder, 0, 2 as Txid, 2 as Txid);
    writer.write(new Uint8Array(size));
    writer.discard();
    expect(readdirSync(folder)).toEqual([]);
  });

  // The next opened file gets the number of a closed descriptor: a pin's lock, another spool file.
  test.each([1, LARGE_SIZE + 1])("discard after finish closes no later descriptor (%i bytes)", (size) => {
    const folder = tempFolder("spool");
    const writer = new SpoolWriter(folder, 0, 2 as Txid, 2 as Txid);
    writer.write(new Uint8Array(size));
    writer.finish({ previousChain: CHAIN_ZERO });
    const others = Array.from({ length: 8 }, () => openSync(folder, "r"));
    try {
      writer.discard();
      for (const fd of others) expect(fstatSync(fd).isDirectory()).toBe(true);
    } finally {
      for (const fd of others) closeQuietly(fd);
    }
  });

  test("a folder that is missing or a file is a retryable error of the database", () => {
    const file = join(tempFolder("spool"), "file");
    writeFileSync(file, "");
    for (const folder of [file, join(tempFolder("spool"), "none")]) {
      try {
        new SpoolWriter(folder, 0, 2 as Txid, 2 as Txid).finish({ previousChain: CHAIN_ZERO });
        expect.unreachable();
      } catch (error) {
        expect(hasCode(error, "database") && error.retryable).toBe(true);
      }
    }
  });
});

function closeQuietly(fd: number): void {
  try {
    closeSync(fd);
  } catch {
    // The code under test closed the descriptor: the test has failed already.
  }
}

describe("loadSpool", () => {
  test("loadSpool gives all files in the order of upload, snapshots after their increment", () => {
    const { folder, files, head } = spoolOf(3);
    const snapshot = new SpoolWriter(folder, 9, 1 as Txid, 2 as Txid);
    snapshot.write(Buffer.from("snapshot"));
    const later = snapshot.finish({ chain: files[1]!.chain });
    const loaded = load(folder, 3, head);
    expect(loaded).toEqual({ kind: "pending", files: [files[0]!, files[1]!, later, files[2]!] });
  });

  test("loadSpool of an empty folder has nothing pending", () => {
    expect(load(tempFolder("spool"), 9, "ab".repeat(32))).toEqual({ kind: "pending", files: [] });
  });

  test("loadSpool accepts a spool whose first files are already in the bucket", () => {
    const { folder, files, head } = spoolOf(4);
    removeSpoolFile(files[0]!);
    removeSpoolFile(files[1]!);
    expect(load(folder, 4, head)).toEqual({ kind: "pending", files: files.slice(2) });
  });

  test("loadSpool removes leftovers of a crash: temporary files, and files unknown to the state", () => {
    const { folder, files } = spoolOf(3);
    new SpoolWriter(folder, 0, 4 as Txid, 4 as Txid).write(new Uint8Array(LARGE_SIZE + 1));
    writeFileSync(join(folder, "note.txt"), "somebody else's");
    const loaded = load(folder, 2, hex(files[1]!.chain));
    expect(loaded).toEqual({ kind: "pending", files: files.slice(0, 2) });
    expect(readdirSync(folder).sort()).toEqual([
      "0000-0000000000000002-0000000000000002.ltx",
      "0009-0000000000000001-0000000000000001.ltx",
      "note.txt",
    ]);
  });

  test("loadSpool removes a torn file past the state, and the spool is not broken", () => {
    const { folder, files } = spoolOf(2);
    writeFileSync(join(folder, "0000-0000000000000003-0000000000000003.ltx"), "torn");
    expect(load(folder, 2, hex(files[1]!.chain)).kind).toBe("pending");
    expect(readdirSync(folder).length).toBe(2);
  });

  test("loadSpool removes a torn merge whose sources are there, before the sources are gone", () => {
    const { folder, files, head } = spoolOf(4);
    const torn = join(folder, "0000-0000000000000002-0000000000000003.ltx");
    writeFileSync(torn, "");
    expect(load(folder, 4, head)).toEqual({ kind: "pending", files });
    expect(existsSync(torn)).toBe(false);
    for (const file of files) removeSpoolFile(file);
    expect(load(folder, 4, head)).toEqual({ kind: "pending", files: [] });
  });

  test("loadSpool removes a torn snapshot: no link depends on it, and the next snapshot replaces it", () => {
    const { folder, files, head } = spoolOf(3);
    const torn = join(folder, "0009-0000000000000001-0000000000000003.ltx");
    writeFileSync(torn, "half");
    removeSpoolFile(files[0]!);
    expect(load(folder, 3, head)).toEqual({ kind: "pending", files: files.slice(1) });
    expect(existsSync(torn)).toBe(false);
  });

  test("loadSpool reports a truncation to any length as broken", () => {
    const { folder, files, head } = spoolOf(2);
    const bytes = readFileSync(files[1]!.path);
    for (let length = 0; length < bytes.length; length++) {
      writeFileSync(files[1]!.path, bytes.subarray(0, length));
      expect(load(folder, 2, head).kind).toBe("broken");
    }
  });

  test("loadSpool reports any flipped byte of a footer, isIntact any of the content", async () => {
    const { folder, files, head } = spoolOf(2);
    const { path, sizeBytes } = files[1]!;
    const bytes = readFileSync(path);
    for (let at = 0; at < bytes.length; at++) {
      const damaged = Buffer.from(bytes);
      damaged[at] = damaged[at]! ^ 0x40;
      writeFileSync(path, damaged);
      const loaded = load(folder, 2, head);
      if (at >= sizeBytes) expect([at, loaded.kind]).toEqual([at, "broken"]);
      else expect([at, await isIntact(files[1]!)]).toEqual([at, false]);
    }
    writeFileSync(path, bytes);
    expect(await isIntact(files[1]!)).toBe(true);
  });

  test("loadSpool reports a missing link in the middle, and a missing newest one", () => {
    const middle = spoolOf(3);
    removeSpoolFile(middle.files[1]!);
    expect(load(middle.folder, 3, middle.head).kind).toBe("broken");
    const newest = spoolOf(3);
    removeSpoolFile(newest.files[2]!);
    expect(load(newest.folder, 3, newest.head).kind).toBe("broken");
  });

  test("loadSpool reports a file of another history", () => {
    const { folder, head, files } = spoolOf(2);
    expect(load(folder, 2, "cd".repeat(32)).kind).toBe("broken");
    const foreign = new SpoolWriter(folder, 0, 2 as Txid, 2 as Txid);
    foreign.write(Buffer.from("other"));
    foreign.finish({ previousChain: files[0]!.chain });
    expect(load(folder, 2, head).kind).toBe("broken");
  });

  test("loadSpool ignores a name with an impossible TXID", () => {
    const { folder, files, head } = spoolOf(2);
    const name = "0000-ffffffffffffffff-ffffffffffffffff.ltx";
    writeFileSync(join(folder, name), "no TXID");
    expect(load(folder, 2, head)).toEqual({ kind: "pending", files });
  });

  test("clearSpool removes the files of the spool and nothing else", () => {
    const { folder } = spoolOf(2);
    new SpoolWriter(folder, 0, 4 as Txid, 4 as Txid).write(new Uint8Array(LARGE_SIZE + 1));
    mkdirSync(join(folder, "sub"));
    writeFileSync(join(folder, "note.txt"), "");
    clearSpool(folder);
    expect(readdirSync(folder).sort()).toEqual(["note.txt", "sub"]);
  });
});

describe("spoolChunks", () => {
  test("spoolChunks gives the LTX bytes without the footer, and fails if the file became shorter", () => {
    const writer = new SpoolWriter(tempFolder("spool"), 0, 2 as Txid, 2 as Txid);
    const content = new Uint8Array(600_000).map((_, index) => index % 251);
    writer.write(content);
    const file = writer.finish({ previousChain: CHAIN_ZERO });
    const chunks = [...spoolChunks(file)].map((chunk) => chunk.length);
    expect(chunks).toEqual([262_144, 262_144, 75_712]);
    let digest = new Bun.CryptoHasher("sha256");
    for (const chunk of spoolChunks(file)) digest = digest.update(chunk);
    expect(digest.digest("hex")).toBe(hex(file.sha256));
    expect(hex(nextChain(CHAIN_ZERO, sha256(content)))).toBe(hex(file.chain));
    writeFileSync(file.path, content.subarray(0, 1000));
    expect(() => [...spoolChunks(file)]).toThrow("became shorter");
    rmSync(file.path);
    expect(() => [...spoolChunks(file)]).toThrow();
  });
});

describe("uploadedTxidOf", () => {
  const file = (level: number, minTxid: number, maxTxid: number): SpoolFile =>
    ({ level, minTxid, maxTxid }) as SpoolFile;
  const cases: [string, number, SpoolFile[], number][] = [
    ["nothing was ever captured", 0, [], 0],
    ["only the first snapshot waits", 1, [file(9, 1, 1)], 0],
    ["nothing waits", 7, [], 7],
    ["increments wait", 7, [file(0, 5, 6), file(0, 7, 7)], 4],
    ["a later snapshot that waits is no link", 7, [file(9, 1, 7)], 7],
    ["a snapshot waits before an increment", 7, [file(9, 1, 6), file(0, 7, 7)], 6],
  ];
  for (const [title, stateTxid, pending, expected] of cases) {
    test(title, () => expect(Number(uploadedTxidOf(stateTxid as Txid, pending))).toBe(expected));
  }
});
