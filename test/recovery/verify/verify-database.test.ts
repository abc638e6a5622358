/** verify reports nothing about sound buckets of every kind, and has a finding for each kind of damage. */
import { describe, expect, test } from "bun:test";
import { decodeLtxHeader, LTX_HEADER_FIELDS } from "../../../src/format/ltx.ts";
import { type VerifyOptions, verifyDatabase } from "../../../src/recovery/verify/verify-database.ts";
import type { FindingCode, VerifyReport } from "../../../src/recovery/verify/verify-report.ts";
import { vector } from "../../format/samples.ts";
import { History, litestreamStore, verifyEnv } from "./verify-history.ts";

function verify(history: History, options: VerifyOptions = {}): Promise<VerifyReport> {
  return verifyDatabase(history.store, history.name, options, verifyEnv());
}

function codesOf(report: VerifyReport): string[] {
  return [...new Set(report.findings.map(({ code }) => code))].sort();
}

/** Snapshots at 1 and 12, increments 2 to 20, of which 2 to 9 are compacted too, and a manifest. */
async function soundHistory(pageCount = 4): Promise<History> {
  const history = await History.begin({ pageCount });
  await history.increments(11);
  await history.snapshot();
  await history.increments(8);
  await history.compact(1, (await history.level(0)).slice(0, 4));
  await history.compact(1, (await history.level(0)).slice(4, 8));
  await history.compact(2, await history.level(1));
  await history.manifest();
  return history;
}

describe("verifyDatabase finds nothing in", () => {
  test.each(["s3", "file"] as const)("a new history (%s)", async (layout) => {
    const history = await History.begin({ layout });
    await history.manifest();
    const report = await verify(history, { readPercent: 100 });
    expect([report.status, report.findings]).toEqual(["ok", []]);
    expect(report.checked).toMatchObject({
      objects: 1,
      snapshots: 1,
      chainedObjects: 1,
      minTxid: 1,
      maxTxid: 1,
    });
  });

  test("a history over levels 0 to 2 and 9, and increments after the manifest", async () => {
    const history = await soundHistory();
    await history.increments(3);
    const report = await verify(history, { readPercent: 100 });
    expect(report.findings).toEqual([]);
    expect(report.checked).toMatchObject({ objects: 27, snapshots: 2, chainedObjects: 27, readObjects: 27 });
  });

  test("more snapshots than a manifest names; a missing one is still reported", async () => {
    const history = await History.begin();
    for (let count = 0; count < 105; count++) {
      await history.increments(1);
      await history.snapshot();
    }
    await history.manifest();
    expect((await verify(history)).findings).toEqual([]);
    await history.delete(history.key(9, 1, 3));
    expect(codesOf(await verify(history))).toEqual(["manifest-stale"]);
  });

  test("a compacted history whose covered increments are gone", async () => {
    const history = await soundHistory();
    await history.delete(...[2, 3, 4, 5, 6, 7, 8, 9].map((txid) => history.key(0, txid)));
    await history.delete(history.key(1, 2, 5), history.key(1, 6, 9));
    expect((await verify(history)).findings).toEqual([]);
  });

  test("a pruned history: nothing before the oldest snapshot, and one object across it", async () => {
    const history = await soundHistory();
    await history.compact(1, (await history.level(0)).slice(8, 13));
    await history.delete(history.key(9, 1), history.key(2, 2, 9), history.key(1, 2, 5), history.key(1, 6, 9));
    for (let txid = 2; txid <= 14; txid++) await history.delete(history.key(0, txid));
    await history.manifest();
    const report = await verify(history);
    expect(report.findings).toEqual([]);
    expect(report.checked).toMatchObject({ minTxid: 12, maxTxid: 20 });
  });

  test.each(["s3", "file"] as const)(
    "a backup of Litestream (%s), and counts its objects",
    async (layout) => {
      const names = ["0-1", "0-2", "0-3", "0-4", "9-1"].map((name) => {
        const [level, txid] = name.split("-");
        const digits = txid!.padStart(16, "0");
        return `${level}-${digits}-${digits}.ltx`;
      });
      const files = new Map(names.map((name) => [name, vector(`litestream/${name}`)]));
      const store = await litestreamStore(layout, files, (bytes) => decodeLtxHeader(bytes).timestampMs);
      const report = await verifyDatabase(store, "app", { readPercent: 100, restore: true }, verifyEnv());
      expect(report.findings).toEqual([]);
      const counts = { objects: 5, chainedObjects: 0, unchainedObjects: 5, readObjects: 5, restoredTxid: 4 };
      expect(report.checked).toMatchObject(counts);
    },
  );

  test("a walrust history that begins where Litestream stopped", async () => {
    const history = await soundHistory();
    // As after a takeover: earlier objects carry no metadata, and the chain restarts with zeros.
    for (const object of await history.objects()) {
      if (object.maxTxid <= 12) await history.edit(object.key, () => ({ metadata: {} }));
    }
    const zero = "0".repeat(64);
    let previous = zero;
    for (let txid = 13; txid <= 20; txid++) {
      await history.edit(history.key(0, txid), ({ metadata }) => {
        const next = Uint8Array.fromHex(previous + metadata["sha256"]!);
        const chain = new Bun.CryptoHasher("sha256").update(next).digest("hex");
        const rewritten = { ...metadata, "prev-chain": previous, chain };
        previous = chain;
        return { metadata: rewritten };
      });
    }
    await history.delete(history.manifestKey);
    const report = await verify(history);
    expect(report.findings.map(({ code }) => code)).toEqual(["manifest-missing"]);
    expect(report.checked).toMatchObject({ chainedObjects: 8, unchainedObjects: 16 });
  });
});

/** Strips the metadata of every object, as Litestream writes none. */
async function stripMetadata(history: History): Promise<void> {
  for (const { key } of await history.objects()) await history.edit(key, () => ({ metadata: {} }));
  await history.delete(history.manifestKey);
}

describe("verifyDatabase accepts habits of Litestream:", () => {
  test("a snapshot that is uploaded before its increments", async () => {
    const history = await History.begin();
    await history.increments(5);
    await history.snapshot();
    await history.delete(history.key(0, 5), history.key(0, 6));
    expect(codesOf(await verify(history))).toContain("gap");
    await stripMetadata(history);
    expect((await verify(history)).findings).toEqual([]);
  });

  test("retention keeps the last object of a level, even one before all others", async () => {
    // Level 2 held 1-4 alone when 1-8 became the oldest snapshot; the objects from 4 to 8 expired.
    const history = await History.begin();
    await history.increments(7);
    await history.snapshot();
    await history.increments(3);
    const increments = (await history.level(0)).slice(0, 3);
    await history.compact(2, [...(await history.level(9)).slice(0, 1), ...increments]);
    await history.delete(history.key(9, 1), ...[2, 3, 4, 5, 6, 7, 8].map((txid) => history.key(0, txid)));
    await stripMetadata(history);
    const report = await verify(history);
    expect(report.findings).toEqual([]);
    expect(report.checked).toMatchObject({ minTxid: 8, maxTxid: 11 });
  });
});

/** One kind of damage a row: the change to a sound history, and the findings. */
const DAMAGE: readonly (readonly [
  what: string,
  codes: readonly FindingCode[],
  act: (history: History) => Promise<void>,
])[] = [
  ["an increment is gone", ["gap"], (h) => h.delete(h.key(0, 15))],
  [
    "the newest increments are gone before a later manifest",
    ["manifest-ahead"],
    (h) => h.delete(h.key(0, 20)),
  ],
  [
    "every snapshot is gone",
    ["manifest-stale", "missing-snapshot"],
    (h) => h.delete(h.key(9, 1), h.key(9, 1, 12)),
  ],
  [
    "all objects are gone",
    ["manifest-ahead", "missing-snapshot"],
    async (h) => h.delete(...(await h.objects()).map(({ key }) => key)),
  ],
  [
    "the increments before a later snapshot are gone",
    ["gap"],
    (h) => h.delete(h.key(0, 10), h.key(0, 11), h.key(0, 12)),
  ],
  ["a byte of a page is flipped", ["corrupt-object"], (h) => flipByte(h, h.key(0, 15), 130)],
  ["a byte of the magic is flipped", ["corrupt-object"], (h) => flipByte(h, h.key(0, 15), 0)],
  ["an object is cut off", ["corrupt-object"], (h) => h.edit(h.key(0, 15), cutTo(-20))],
  ["an object is cut off within its header", ["bad-size"], (h) => h.edit(h.key(0, 15), cutTo(60))],
  [
    "an object lies under another key",
    ["wrong-key"],
    async (h) => h.write(h.key(0, 15), await h.read(h.key(0, 14))),
  ],
  [
    "a time is edited",
    ["time-mismatch"],
    (h) => h.edit(h.key(0, 15), metadataOf({ "litestream-timestamp": LATE })),
  ],
  [
    "a time is no time",
    ["bad-metadata"],
    (h) => h.edit(h.key(0, 15), metadataOf({ "litestream-timestamp": "?" })),
  ],
  [
    "a SHA-256 is edited",
    ["bad-sha256", "broken-chain"],
    (h) => h.edit(h.key(0, 15), metadataOf({ sha256: OTHER })),
  ],
  ["a chain value is edited", ["broken-chain"], (h) => h.edit(h.key(0, 15), metadataOf({ chain: OTHER }))],
  [
    "a previous chain value is edited",
    ["broken-chain"],
    (h) => h.edit(h.key(0, 15), metadataOf({ "prev-chain": OTHER })),
  ],
  ["a chain value is no hash", ["bad-metadata"], (h) => h.edit(h.key(0, 15), metadataOf({ chain: "abc" }))],
  [
    "a snapshot's chain value is edited",
    ["broken-chain"],
    (h) => h.edit(h.key(9, 1, 12), metadataOf({ chain: OTHER })),
  ],
  [
    "the chain does not begin with zeros",
    ["broken-chain"],
    (h) => h.edit(h.key(9, 1), metadataOf({ "prev-chain": OTHER })),
  ],
  [
    "a compaction's chain value is edited",
    ["broken-chain"],
    (h) => h.edit(h.key(1, 6, 9), metadataOf({ chain: OTHER })),
  ],
  [
    "a compaction's previous chain value is edited",
    ["broken-chain"],
    (h) => h.edit(h.key(1, 6, 9), metadataOf({ "prev-chain": OTHER })),
  ],
  ["the chain metadata is lost", ["metadata-lost"], (h) => h.edit(h.key(0, 15), metadataOf({ chain: null }))],
  [
    "all metadata of an object is lost",
    ["metadata-lost"],
    (h) => h.edit(h.key(0, 15), () => ({ metadata: {} })),
  ],
  [
    "all metadata of an object is lost, and what it leads to is another database",
    ["broken-chain", "checksum-mismatch"],
    async (h) => {
      const other = await History.begin({ seed: 2 });
      await other.increments(19);
      await h.write(h.key(0, 15), { ...(await other.read(other.key(0, 15))), metadata: {} });
    },
  ],
  ["the manifest is gone", ["manifest-missing"], (h) => h.delete(h.manifestKey)],
  [
    "the manifest is no JSON",
    ["manifest-unreadable"],
    (h) => h.edit(h.manifestKey, () => ({ bytes: text("{") })),
  ],
  ["the manifest lists no snapshots", ["manifest-unreadable"], (h) => editManifest(h, { snapshots: 7 })],
  ["the manifest lacks a snapshot", ["manifest-stale"], (h) => editManifest(h, { snapshots: [] })],
  ["the oldest snapshot is gone", ["manifest-stale", "unreachable-object"], (h) => h.delete(h.key(9, 1))],
  ["an unknown key", ["unknown-key"], (h) => h.write(`${h.name}/0000/notes.txt`, STRAY)],
  ["a level that is never read", ["unknown-key"], (h) => h.write(`${h.name}/0004/${TXIDS}.ltx`, STRAY)],
  ["a temporary key", ["temporary-file"], (h) => h.write(`${h.name}/0000/${TXIDS}.ltx.tmp`, STRAY)],
];

const OTHER = "ab".repeat(32);
const LATE = "2026-02-02T02:02:02.002Z";
const TXIDS = "0000000000000002-0000000000000002";
const STRAY = { bytes: text("stray"), metadata: {} };

function text(content: string): Uint8Array {
  return new TextEncoder().encode(content);
}

function cutTo(end: number): (stored: { bytes: Uint8Array }) => { bytes: Uint8Array } {
  return ({ bytes }) => ({ bytes: bytes.slice(0, end) });
}

function metadataOf(changes: Record<string, string | null>) {
  return ({ metadata }: { metadata: Readonly<Record<string, string>> }) => {
    const merged = Object.entries({ ...metadata, ...changes }).filter((entry) => entry[1] !== null);
    return { metadata: Object.fromEntries(merged) as Record<string, string> };
  };
}

function flipByte(history: History, key: string, offset: number): Promise<void> {
  return history.edit(key, ({ bytes }) => {
    const damaged = bytes.slice();
    damaged[offset]! ^= 0x55;
    return { bytes: damaged };
  });
}

function editManifest(history: History, changes: Record<string, unknown>): Promise<void> {
  return history.edit(history.manifestKey, ({ bytes }) => {
    const manifest = JSON.parse(new TextDecoder().decode(bytes));
    return { bytes: text(JSON.stringify({ ...manifest, ...changes })) };
  });
}

const WARNINGS = new RegExp(
  "^(manifest-(missing|unreadable|stale)|metadata-lost|temporary-file|orphan-sidecar|" +
    "unreachable-object|unknown-key)$",
);

describe("verifyDatabase finds damage", () => {
  test.each(DAMAGE)("%s: %j", async (_, codes, act) => {
    const history = await soundHistory();
    await act(history);
    const report = await verify(history);
    expect(codesOf(report)).toEqual([...codes].sort());
    expect(report.status).toBe(codes.every((code) => WARNINGS.test(code)) ? "warnings" : "errors");
  });

  test("another history in the place of this one: the manifest is the witness", async () => {
    const history = await soundHistory();
    const other = await History.begin({ seed: 2 });
    await other.increments(11);
    await other.snapshot();
    await other.increments(8);
    await history.delete(...(await history.objects()).map(({ key }) => key));
    for (const { key } of await other.objects()) await history.write(key, await other.read(key));
    expect(codesOf(await verify(history))).toContain("manifest-contradicts");
  });

  test("an object of another history in the same place", async () => {
    const history = await soundHistory();
    const other = await History.begin({ seed: 2 });
    await other.increments(19);
    await history.write(history.key(0, 15), await other.read(other.key(0, 15)));
    expect(codesOf(await verify(history))).toEqual(["broken-chain", "checksum-mismatch"]);
  });

  test("a snapshot of another history at the same TXID", async () => {
    const history = await soundHistory();
    const other = await History.begin({ seed: 2 });
    await other.increments(11);
    await other.snapshot();
    await history.write(history.key(9, 1, 12), await other.read(other.key(9, 1, 12)));
    expect(codesOf(await verify(history))).toEqual(["broken-chain", "checksum-mismatch", "manifest-stale"]);
  });

  test("a snapshot of other pages at the same TXID", async () => {
    const history = await soundHistory(200);
    await history.edit(history.key(9, 1, 12), ({ bytes }) => {
      const damaged = bytes.slice();
      new DataView(damaged.buffer).setUint32(LTX_HEADER_FIELDS.pageSizeBytes[0], 1024);
      return { bytes: damaged };
    });
    expect(codesOf(await verify(history))).toEqual(["page-size-mismatch"]);
  });

  test("a first snapshot with a predecessor", async () => {
    const history = await History.begin();
    const key = history.key(9, 1);
    const { metadata } = await history.read(key);
    const link = Uint8Array.fromHex(OTHER + metadata["sha256"]!);
    const chain = new Bun.CryptoHasher("sha256").update(link).digest("hex");
    await history.edit(key, metadataOf({ chain, "prev-chain": OTHER }));
    const [finding] = (await verify(history)).findings;
    expect(finding).toMatchObject({ code: "broken-chain", object: key });
    expect(finding!.message).toContain("does not begin the chain");
  });

  test("database checksums reveal damage where no object carries a chain", async () => {
    const history = await soundHistory();
    const other = await History.begin({ seed: 2 });
    await other.increments(19);
    await history.write(history.key(0, 15), await other.read(other.key(0, 15)));
    for (const { key } of await history.objects()) await history.edit(key, () => ({ metadata: {} }));
    expect(codesOf(await verify(history))).toContain("checksum-mismatch");
  });

  test("a page size that changes in an object without all pages", async () => {
    const history = await soundHistory(200);
    const key = history.key(0, 20);
    await history.edit(key, ({ bytes }) => {
      const damaged = bytes.slice(0, bytes.length);
      new DataView(damaged.buffer).setUint32(LTX_HEADER_FIELDS.pageSizeBytes[0], 65536);
      return { bytes: damaged };
    });
    const findings = await verify(history);
    expect(codesOf(findings)).toContain("page-size-mismatch");
  });

  test("each finding names its object and TXID", async () => {
    const history = await soundHistory();
    await flipByte(history, history.key(0, 15), 130);
    const [finding] = (await verify(history)).findings;
    expect(finding).toMatchObject({ severity: "error", object: history.key(0, 15), txid: 15 });
  });
});
