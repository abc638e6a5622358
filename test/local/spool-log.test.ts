/**
 * The logs of a spool: the format, torn tails, marks, and the records that wait after any crash of the
 * process between two of its writes.
 */
import { describe, expect, test } from "bun:test";
import {
  appendFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { CHAIN_ZERO, hex, nextChain } from "../../src/format/chain.ts";
import type { Txid } from "../../src/format/types.ts";
import {
  clearSpool,
  isIntact,
  loadSpool,
  removeSpoolFile,
  removeSpoolFiles,
  revivedTxidOf,
  type SpoolFile,
  SpoolWriter,
  spoolChunks,
} from "../../src/local/spool.ts";
import {
  intactCopyOrNull,
  isSentKept,
  keepSent,
  LoggedCopies,
  localCopyOrNull,
  pruneSent,
  sentBytes,
} from "../../src/local/spool-cache.ts";
import {
  findRecordOrNull,
  markRecords,
  parseLogNameOrNull,
  readLog,
  readLogs,
  retireLogs,
  SpoolLog,
} from "../../src/local/spool-log.ts";
import { thrownWithoutDescriptors } from "../support/disks/descriptor-limit.ts";
import { takeLeaseOrNull } from "../support/processes/lease.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { tempFolder } from "../support/temp.ts";

const HEAD_SIZE = 48;
const FOOTER_SIZE = 112;

/** A spool whose increments go into a log, and the state that names them. */
class Spool {
  readonly folder = tempFolder("log");
  log = new SpoolLog(this.folder);
  headTxid = 1;
  chain: Uint8Array = CHAIN_ZERO;
  /** The links that wait in memory. */
  pending: SpoolFile[] = [];

  /** Writes the next increment. @param isNamed whether the state names it */
  write(sizeBytes = 100, isNamed = true): SpoolFile {
    const txid = (this.headTxid + 1) as Txid;
    const writer = new SpoolWriter(this.folder, 0, txid, txid, this.log);
    writer.write(new Uint8Array(sizeBytes).fill(txid));
    const file = writer.finish({ previousChain: this.chain });
    if (!isNamed) return file;
    this.headTxid = txid;
    this.chain = file.chain;
    this.pending.push(file);
    return file;
  }

  /** The store acknowledges the oldest link. */
  acknowledge(): SpoolFile {
    const file = this.pending.shift()!;
    keepSent(this.folder, file, this.log);
    return file;
  }

  /** Merges all waiting links but the first into a file of its own, as an upload does. */
  merge(): void {
    const [first, last] = [this.pending[1], this.pending.at(-1)];
    if (first === undefined || last === undefined || first === last) return;
    const writer = new SpoolWriter(this.folder, 0, first.minTxid, last.maxTxid);
    writer.write(new Uint8Array(50).fill(7));
    const merged = writer.finish({ previousChain: first.previousChain });
    this.chain = merged.chain;
    removeSpoolFiles(this.pending.splice(1));
    this.pending.push(merged);
  }

  /** A new process. */
  restart(): SpoolFile[] {
    this.log = new SpoolLog(this.folder);
    const loaded = loadSpool(this.folder, this.headTxid as Txid, hex(this.chain));
    if (loaded.kind === "broken") throw new Error(loaded.reason);
    this.pending = loaded.files;
    return loaded.files;
  }
}

function hugeFile(path: string): void {
  writeFileSync(path, "");
  truncateSync(path, 2 ** 40);
}

function txidsOf(files: readonly SpoolFile[]): number[] {
  return files.map(({ maxTxid }) => maxTxid);
}

function logNames(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder).filter((name) => parseLogNameOrNull(name) !== null) : [];
}

describe("SpoolLog", () => {
  test("append writes the bytes of the specification", () => {
    const spool = new Spool();
    const first = spool.write(200);
    spool.acknowledge();
    const second = spool.write(300);
    const bytes = readFileSync(join(spool.folder, "log-0000000000000002.ltxs"));
    const start = HEAD_SIZE + 200 + FOOTER_SIZE;
    expect([first.offset, second.offset, bytes.length]).toEqual([
      HEAD_SIZE,
      start + HEAD_SIZE,
      start + HEAD_SIZE + 300 + FOOTER_SIZE,
    ]);
    const head = bytes.subarray(start, start + HEAD_SIZE);
    expect(head.subarray(0, 8).toString()).toBe("WALRUSTL");
    const numbers = [8, 16, 24, 32].map((offset) => Number(head.readBigUInt64BE(offset)));
    expect(numbers).toEqual([300, 3, 3, 2]);
    expect([...head.subarray(40, 44)]).toEqual([0, 0, 0, 0]);
    expect(head.readUInt32BE(44)).toBe(crc32(head.subarray(0, 40)));
    const ltx = bytes.subarray(second.offset, second.offset + 300);
    expect(ltx).toEqual(Buffer.alloc(300, 3));
    const footer = bytes.subarray(second.offset + 300);
    expect(Number(footer.readBigUInt64BE(0))).toBe(300);
    expect(footer.subarray(8, 40)).toEqual(Buffer.from(second.sha256));
    expect(footer.subarray(72, 104)).toEqual(Buffer.from(nextChain(first.chain, second.sha256)));
    expect(footer.subarray(104).toString()).toBe("WALRUST1");
  });

  test("append begins another log when one is full, gone, changed, or of another process", () => {
    const spool = new Spool();
    for (let count = 0; count < 6; count++) spool.write(60_000);
    expect(logNames(spool.folder)).toEqual(["log-0000000000000002.ltxs", "log-0000000000000007.ltxs"]);
    appendFileSync(join(spool.folder, "log-0000000000000007.ltxs"), "more");
    spool.write();
    rmSync(join(spool.folder, "log-0000000000000008.ltxs"));
    spool.write();
    linkSync(join(spool.folder, "log-0000000000000009.ltxs"), join(spool.folder, "backup"));
    spool.write();
    spool.log = new SpoolLog(spool.folder);
    spool.write();
    const numbers = logNames(spool.folder)
      .sort()
      .map((name) => Number.parseInt(name.slice(4, 20), 16));
    expect(numbers).toEqual([2, 7, 9, 10, 11]);
  });

  test("append leaves an increment a file of its own when the name of the log is taken", () => {
    const spool = new Spool();
    writeFileSync(join(spool.folder, "log-0000000000000002.ltxs"), "of another history");
    expect(spool.write()).toMatchObject({ offset: 0, path: expect.stringContaining("0000-") });
    expect(txidsOf(spool.restart())).toEqual([2]);
  });

  test("append replaces a record that no state names", () => {
    const spool = new Spool();
    spool.write();
    spool.write(500, false);
    const again = spool.write(20);
    spool.write();
    expect(txidsOf(readLog(again.path).map(({ file }) => file))).toEqual([2, 3, 4]);
    expect(txidsOf(spool.restart())).toEqual([2, 3, 4]);
  });

  test("forget begins a history in which earlier acknowledgements count nothing", () => {
    const spool = new Spool();
    for (let count = 0; count < 5; count++) spool.write();
    while (spool.pending.length > 0) spool.acknowledge();
    clearSpool(spool.folder);
    spool.log.forget();
    spool.headTxid = 1;
    spool.chain = CHAIN_ZERO;
    spool.write();
    spool.write();
    expect(txidsOf(spool.restart())).toEqual([2, 3]);
  });
});

describe("readLog", () => {
  test("readLog gives the whole records before a cut, at any length", () => {
    const spool = new Spool();
    const ends = [10, 30, 20].map((size) => {
      const { path, offset } = spool.write(size);
      return { path, end: offset + size + FOOTER_SIZE };
    });
    const { path } = ends[0]!;
    for (let length = ends[2]!.end; length >= 0; length--) {
      truncateSync(path, length);
      expect(readLog(path).length).toBe(ends.filter(({ end }) => end <= length).length);
    }
  });

  test("readLog never gives another record for a flipped byte", async () => {
    const spool = new Spool();
    const files = [spool.write(10), spool.write(30)];
    const { path } = files[0]!;
    const whole = readFileSync(path);
    for (let at = 0; at < whole.length; at++) {
      writeFileSync(path, whole.with(at, whole[at]! ^ 0xff));
      const records = readLog(path);
      for (const [index, { file }] of records.entries()) {
        const isSame = Bun.deepEquals(file, files[index]!) && (await isIntact(file));
        const loaded = loadSpool(spool.folder, 3 as Txid, hex(spool.chain), false);
        // A flip of a mark or of an acknowledged TXID: the bytes of the record are untouched.
        if (!isSame) expect(loaded.kind === "broken" || !(await isIntact(file))).toBe(true);
      }
    }
  });

  test.each([
    ["a link", (path: string) => symlinkSync("/etc/hostname", path)],
    ["a folder", (path: string) => mkdirSync(path)],
    ["a huge file", hugeFile],
    ["nothing", () => {}],
  ])("readLog finds no record in %s", (_, make) => {
    const path = join(tempFolder("log"), "log-0000000000000002.ltxs");
    make(path);
    expect(readLog(path)).toEqual([]);
  });
});

describe("loadSpool of logs", () => {
  test("a record waits until the next one states its acknowledgement, or a mark does", () => {
    const spool = new Spool();
    for (let count = 0; count < 3; count++) spool.write();
    spool.acknowledge();
    expect(txidsOf(spool.restart())).toEqual([2, 3, 4]);
    spool.acknowledge();
    spool.acknowledge();
    expect(txidsOf(spool.restart())).toEqual([3, 4]);
    spool.acknowledge();
    spool.log.settle();
    expect(txidsOf(spool.restart())).toEqual([4]);
    spool.write();
    spool.acknowledge();
    spool.write();
    expect(txidsOf(spool.restart())).toEqual([5, 6]);
  });

  test("a record past the state is void, and the next capture has its TXID", () => {
    const spool = new Spool();
    spool.write();
    const past = spool.write(100, false);
    expect(txidsOf(spool.restart())).toEqual([2]);
    expect(findRecordOrNull(spool.folder, past)).toBeNull();
    const next = spool.write(40);
    expect(txidsOf(spool.restart())).toEqual([2, 3]);
    expect(findRecordOrNull(spool.folder, next)).toEqual(next);
  });

  test("a reader without the host lock changes nothing", () => {
    const spool = new Spool();
    spool.write(100, false);
    const before = readFileSync(join(spool.folder, "log-0000000000000002.ltxs"));
    loadSpool(spool.folder, 1 as Txid, hex(CHAIN_ZERO), false);
    expect(readFileSync(join(spool.folder, "log-0000000000000002.ltxs"))).toEqual(before);
  });

  test("a log that is cut or lost does not lead to the state", () => {
    const spool = new Spool();
    const { path } = spool.write();
    spool.write();
    const whole = readFileSync(path);
    for (const length of [whole.length - 1, 300, 0]) {
      writeFileSync(path, whole.subarray(0, length));
      if (length >= 300) expect(() => spool.restart()).toThrow();
    }
    writeFileSync(path, whole);
    spool.restart();
    const later = spool.write();
    rmSync(later.path);
    expect(() => spool.restart()).toThrow();
  });

  test("sources of a merge wait no more, also when the process ends before they are marked", () => {
    const spool = new Spool();
    for (let count = 0; count < 4; count++) spool.write();
    const { path } = spool.pending[0]!;
    const before = readFileSync(path);
    spool.merge();
    // Without the marks that the merge wrote.
    writeFileSync(path, before);
    expect(spool.restart().map(({ minTxid, maxTxid }) => [Number(minTxid), Number(maxTxid)])).toEqual([
      [2, 2],
      [3, 5],
    ]);
    spool.acknowledge();
    spool.acknowledge();
    expect(spool.restart()).toEqual([]);
  });

  test.each([1, 2, 3, 4, 5, 6, 7, 8])("any crash leaves every link that may be unsent (seed %d)", (seed) => {
    const random = seededRandom(seed);
    const spool = new Spool();
    let acknowledgedTxid = 1;
    for (let step = 0; step < 300; step++) {
      const dice = random();
      if (dice < 0.45) spool.write(20 + Math.floor(random() * 8_000));
      else if (dice < 0.5) spool.write(50, false);
      else if (dice < 0.8)
        acknowledgedTxid = spool.pending.length > 0 ? spool.acknowledge().maxTxid : acknowledgedTxid;
      else if (dice < 0.84) spool.merge();
      else if (dice < 0.88) retireLogs(spool.folder);
      else if (dice < 0.9) spool.log.settle();
      else {
        const expected = spool.pending.map(({ sha256 }) => hex(sha256));
        const found = spool.restart();
        const hashes = found.map(({ sha256 }) => hex(sha256));
        expect(hashes.slice(hashes.length - expected.length)).toEqual(expected);
        expect(hashes.length - expected.length).toBeLessThanOrEqual(1);
        // No merge takes in what was acknowledged, or was on its way.
        expect(revivedTxidOf(found)).toBeGreaterThanOrEqual(found[0]?.maxTxid ?? 0);
        if (expected.length < hashes.length) expect(Number(found[0]!.maxTxid)).toBe(acknowledgedTxid);
      }
    }
  });
});

describe("the copies in logs", () => {
  function sent(count: number, sizeBytes = 100): { spool: Spool; files: SpoolFile[] } {
    const spool = new Spool();
    const files = Array.from({ length: count }, () => spool.write(sizeBytes));
    for (let index = 0; index < count; index++) spool.acknowledge();
    spool.log.settle();
    return { spool, files };
  }

  test("intactCopyOrNull finds an increment where it waits and where it is kept", async () => {
    const { spool, files } = sent(20, 30_000);
    for (const isRetired of [false, true]) {
      if (isRetired) retireLogs(spool.folder);
      for (const file of files) {
        const copy = await intactCopyOrNull(spool.folder, file);
        expect(copy?.chain).toEqual(file.chain);
        expect(localCopyOrNull(spool.folder, file)?.chain).toEqual(file.chain);
        const chunks = [...spoolChunks(copy!)].map((chunk) => chunk.slice());
        expect(Buffer.concat(chunks)).toEqual(Buffer.alloc(30_000, file.minTxid));
      }
    }
    expect(localCopyOrNull(spool.folder, { ...files[3]!, sizeBytes: 1 })).toBeNull();
    const unknown = { ...files[3]!, minTxid: 99 as Txid, maxTxid: 99 as Txid };
    expect(localCopyOrNull(spool.folder, unknown)).toBeNull();
    expect(isSentKept(spool.folder, files[19]!.maxTxid)).toBe(true);
    expect(isSentKept(spool.folder, 99 as Txid)).toBe(false);
  });

  test("LoggedCopies has each increment of the logs of a merge, and reads each log once", () => {
    const { spool, files } = sent(20, 30_000);
    retireLogs(spool.folder);
    files.push(spool.write(500), spool.write(600));
    const copies = new LoggedCopies(spool.folder);
    for (const file of files) {
      const copy = copies.copyOrNull(file);
      expect(copy?.file).toMatchObject({ minTxid: file.minTxid, chain: file.chain });
      expect(Buffer.from(copy!.bytes)).toEqual(Buffer.alloc(file.sizeBytes, file.minTxid));
      // The log is not read again for its other increments.
      rmSync(copy!.file.path, { force: true });
    }
    expect(copies.copyOrNull({ ...files[21]!, sizeBytes: 1 })).toBeNull();
    expect(copies.copyOrNull({ ...files[21]!, level: 1 })).toBeNull();
    expect(new LoggedCopies(spool.folder).copyOrNull(files[21]!)).toBeNull();
  });

  test("LoggedCopies finds logs that are moved, made and removed during the merge", () => {
    const { spool, files } = sent(20, 30_000);
    const copies = new LoggedCopies(spool.folder);
    const has = (file: SpoolFile): boolean => copies.copyOrNull(file) !== null;
    expect([files[0]!, files[1]!].map(has)).toEqual([true, true]);
    retireLogs(spool.folder);
    // On old kernels, two changes within 4 ms have the same time.
    utimesSync(spool.folder, 1_800_000_000, 1_800_000_000);
    expect(files.slice(2).map(has)).toEqual(files.slice(2).map(() => true));
    const made = spool.write();
    utimesSync(spool.folder, 1_900_000_000, 1_900_000_000);
    expect(has(made)).toBe(true);
    rmSync(join(spool.folder, "sent"), { recursive: true });
    expect(has(files[0]!)).toBe(false);
  });

  test("a damaged or void record is no copy", async () => {
    const { spool, files } = sent(3);
    const [first, second] = files;
    const bytes = readFileSync(first!.path);
    writeFileSync(first!.path, bytes.with(first!.offset, 99));
    expect(await intactCopyOrNull(spool.folder, first!)).toBeNull();
    removeSpoolFile(second!);
    expect(localCopyOrNull(spool.folder, second!)).toBeNull();
    const copies = new LoggedCopies(spool.folder);
    const found = files.map((file) => copies.copyOrNull(file) !== null);
    expect(found).toEqual([false, false, true]);
  });

  test("retireLogs keeps a log in which something waits", () => {
    const { spool, files } = sent(3);
    spool.write();
    retireLogs(spool.folder);
    expect([logNames(spool.folder).length, logNames(join(spool.folder, "sent")).length]).toEqual([1, 0]);
    spool.acknowledge();
    spool.log.settle();
    retireLogs(spool.folder);
    expect([logNames(spool.folder).length, logNames(join(spool.folder, "sent")).length]).toEqual([0, 1]);
    expect(findRecordOrNull(spool.folder, files[0]!)).not.toBeNull();
  });

  test("merges in an outage leave no log of void records", () => {
    const spool = new Spool();
    for (let count = 0; count < 60; count++) {
      spool.write(30_000);
      if (count % 4 === 3) spool.merge();
    }
    const bytes = logNames(spool.folder).map((name) => statSync(join(spool.folder, name)).size);
    expect(bytes.reduce((sum, size) => sum + size, 0)).toBeLessThan(400_000);
    expect(spool.restart().length).toBe(2);
  });

  test("retireLogs leaves a folder with the name of a log, and removes a torn log", () => {
    const spool = new Spool();
    mkdirSync(join(spool.folder, "log-0000000000000009.ltxs"));
    writeFileSync(join(spool.folder, "log-0000000000000008.ltxs"), "torn");
    retireLogs(spool.folder);
    expect(logNames(spool.folder)).toEqual(["log-0000000000000009.ltxs"]);
    expect(spool.restart()).toEqual([]);
  });

  test("pruneSent removes whole logs, oldest first, by age and by size", () => {
    const { spool } = sent(12, 60_000);
    const nowMs = 1_800_000_000_000;
    pruneSent(spool.folder, Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY, nowMs);
    const sentFolder = join(spool.folder, "sent");
    const names = logNames(sentFolder).sort();
    expect(names.length).toBe(3);
    for (const [index, name] of names.entries()) {
      const seconds = nowMs / 1000 - 10 * (3 - index);
      utimesSync(join(sentFolder, name), seconds, seconds);
    }
    expect(pruneSent(spool.folder, 25_000, Number.POSITIVE_INFINITY, nowMs).count).toBe(2);
    expect(sentBytes(spool.folder)).toBeGreaterThan(300_000);
    expect(pruneSent(spool.folder, 25_000, 200_000, nowMs).count).toBe(1);
    expect(logNames(sentFolder)).toEqual([names[2]!]);
  });

  test("markRecords marks nothing in a file that took the place of the log", () => {
    const { spool, files } = sent(2);
    const [first] = files;
    clearSpool(spool.folder);
    markRecords([first!], "void");
    writeFileSync(first!.path, Buffer.alloc(1_000, 1));
    markRecords([first!], "void");
    expect(readFileSync(first!.path)).toEqual(Buffer.alloc(1_000, 1));
    expect(readLogs(spool.folder)).toEqual([]);
  });
});

test("a log that the system refuses to open is not lost", async () => {
  const spool = new Spool();
  const file = spool.write();
  const end = await takeLeaseOrNull(file.path);
  if (end === null) return;
  try {
    retireLogs(spool.folder);
    expect(existsSync(file.path)).toBe(true);
    expect(() => loadSpool(spool.folder, 2 as Txid, hex(spool.chain))).toThrow("Cannot open");
  } finally {
    await end();
  }
  expect(loadSpool(spool.folder, 2 as Txid, hex(spool.chain))).toEqual({ kind: "pending", files: [file] });
});

test("a folder that cannot be listed hides no log: nothing is taken for lost or done", () => {
  const spool = new Spool();
  const file = spool.write();
  const load = (): unknown => loadSpool(spool.folder, 2 as Txid, hex(spool.chain));
  expect(String(thrownWithoutDescriptors(0, () => readLogs(spool.folder)))).toContain("Cannot list");
  expect(String(thrownWithoutDescriptors(0, load))).toContain("Cannot list");
  expect(thrownWithoutDescriptors(0, () => retireLogs(spool.folder))).toBe(null);
  expect(load()).toEqual({ kind: "pending", files: [file] });
});
