/** The manifest: built from a listing, replaced as a whole, and no obstacle if damaged. */
import { describe, expect, test } from "bun:test";
import type { Txid } from "../../../src/format/types.ts";
import type { LtxObject } from "../../../src/storage/bucket/catalog.ts";
import {
  buildManifest,
  otherNameOrNull,
  readManifest,
  writeManifest,
} from "../../../src/storage/bucket/manifest.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

function object(level: number, minTxid: number, maxTxid: number, sizeBytes: number): LtxObject {
  const key = `app/${level}/${minTxid}-${maxTxid}`;
  return { key, level, minTxid: minTxid as Txid, maxTxid: maxTxid as Txid, sizeBytes, modifiedMs: 0 };
}

const MARK = {
  pageSizeBytes: 4096,
  txid: 3 as Txid,
  timeMs: Date.UTC(2026, 2, 1),
  chain: "a".repeat(64),
  writer: "b".repeat(32),
};
const MANIFEST = buildManifest(
  "app",
  [object(9, 1, 1, 100), object(0, 2, 2, 10), object(0, 3, 3, 20), object(9, 1, 3, 50), object(1, 2, 3, 5)],
  MARK,
);

async function readingOf(text: string | Uint8Array): Promise<string> {
  const store = new MemoryStore();
  await store.put("app/manifest.json", { kind: "bytes", bytes: Buffer.from(text) });
  return (await readManifest(store, "app")).kind;
}

describe("manifest", () => {
  test("buildManifest counts levels and names the snapshots and the mark", () => {
    expect(MANIFEST).toEqual({
      format: 1,
      database: "app",
      pageSizeBytes: 4096,
      latest: { txid: 3 as Txid, time: "2026-03-01T00:00:00.000Z", chain: MARK.chain },
      writer: MARK.writer,
      snapshotCount: 2,
      snapshots: [
        { key: "app/9/1-1", txid: 1 as Txid, sizeBytes: 100 },
        { key: "app/9/1-3", txid: 3 as Txid, sizeBytes: 50 },
      ],
      levels: {
        0: { objects: 2, bytes: 30 },
        1: { objects: 1, bytes: 5 },
        9: { objects: 2, bytes: 150 },
      },
    });
  });

  // Once the manifest named every snapshot: with one snapshot a minute it grew to megabytes, rewritten at
  // each snapshot and merge.
  test("buildManifest names the newest hundred snapshots, and counts all", () => {
    const objects = Array.from({ length: 250 }, (_, index) => object(9, 1, 250 - index, 1));
    const { snapshots, snapshotCount, levels } = buildManifest("app", objects, MARK);
    expect(snapshots.map(({ txid }) => Number(txid))).toEqual(Array.from({ length: 100 }, (_, i) => i + 151));
    expect([snapshotCount, levels[9]!.objects]).toEqual([250, 250]);
  });

  test("writeManifest replaces the manifest of an earlier call", async () => {
    const store = new MemoryStore();
    expect(await readManifest(store, "app")).toEqual({ kind: "none" });
    await writeManifest(store, buildManifest("app", [], { ...MARK, txid: 1 as Txid }));
    await writeManifest(store, MANIFEST);
    expect(await readManifest(store, "app")).toEqual({ kind: "manifest", manifest: MANIFEST });
    expect(await readManifest(store, "other")).toEqual({ kind: "none" });
  });

  test("readManifest calls every truncation unreadable, except a lost last newline", async () => {
    const text = `${JSON.stringify(MANIFEST, null, 2)}\n`;
    for (let length = 0; length < text.length - 1; length += 7) {
      expect([length, await readingOf(text.slice(0, length))]).toEqual([length, "unreadable"]);
    }
    expect(await readingOf(text.trimEnd())).toBe("manifest");
  });

  test.each([
    ["null"],
    ["[]"],
    ["5"],
    ['"text"'],
    ["{}"],
    [JSON.stringify({ ...MANIFEST, format: 2 })],
    [JSON.stringify({ ...MANIFEST, latest: null })],
    [JSON.stringify({ ...MANIFEST, latest: { txid: 0 } })],
    [JSON.stringify({ ...MANIFEST, latest: { ...MANIFEST.latest, time: 7 } })],
    [JSON.stringify({ ...MANIFEST, latest: { txid: "3" } })],
    [JSON.stringify({ ...MANIFEST, latest: { txid: 1e300 } })],
    [JSON.stringify({ ...MANIFEST, latest: { txid: 1.5 } })],
  ])("readManifest calls %s unreadable and does not throw", async (text) => {
    expect(await readingOf(text)).toBe("unreadable");
  });

  test.each([
    [
      "a time of 100 KB",
      JSON.stringify({ ...MANIFEST, latest: { ...MANIFEST.latest, time: "x".repeat(1e5) } }),
    ],
    ["a million openings", `{"format":1,"latest":${"[".repeat(1_000_000)}`],
    ["200,000 lists", `{"format":1,"latest":{"txid":3,"time":"2026"},"x":[${"[],".repeat(200_000)}[]]}`],
    ["70 MB", new Uint8Array(70_000_000).fill(0x5b)],
  ])("readManifest calls a manifest with %s unreadable", async (_what, content) => {
    expect(await readingOf(content)).toBe("unreadable");
  });

  test.each([
    ["app", "app", null],
    ["vm1/app", "app", null],
    ["app", "vm1/app", null],
    ["vm1/app", "vm2/app", "vm1/app"],
    ["app", "application", "app"],
    ["myapp", "app", "myapp"],
    ["app", "other", "app"],
  ])("otherNameOrNull of %s in the folder %s is %p", (database, folder, other) => {
    expect(otherNameOrNull({ ...MANIFEST, database }, folder)).toBe(other);
  });

  test("readManifest passes on storage failures", async () => {
    const store = new MemoryStore({ bucketExists: false });
    await expect(readManifest(store, "app")).rejects.toMatchObject({ code: "missing-bucket" });
  });
});
