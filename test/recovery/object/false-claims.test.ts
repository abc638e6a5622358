/**
 * Objects of a few hundred bytes that claim a database of terabytes. Restore, replicate and verify refuse
 * them before they spend memory, disk or time on them.
 */
import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { objectKey } from "../../../src/format/keys.ts";
import { FLAG_NO_CHECKSUM } from "../../../src/format/ltx.ts";
import { LtxEncoder } from "../../../src/format/ltx-encoder.ts";
import { NO_CHECKSUM, type Txid } from "../../../src/format/types.ts";
import { CLAIMED_SIZE_MAX, GrowthLimit } from "../../../src/recovery/object/growth-limit.ts";
import { restore } from "../../../src/recovery/restore/restore-database.ts";
import { verifyDatabase } from "../../../src/recovery/verify/verify-database.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { ReplicaRun } from "../../support/runs/replica-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

const PAGES_MAX = 2 ** 32 - 1;

/** The only page of a database in WAL mode. */
function firstPage(pageSizeBytes: number): Uint8Array {
  const path = join(tempFolder("seed"), "seed.db");
  const database = new Database(path);
  database.run(`PRAGMA page_size = ${pageSizeBytes}`);
  database.run("PRAGMA journal_mode = WAL");
  database.run("PRAGMA user_version = 1");
  database.close(true);
  return new Uint8Array(readFileSync(path)).subarray(0, pageSizeBytes);
}

interface Claim {
  readonly txid: number;
  readonly commit: number;
  readonly pgnos: readonly number[];
}

async function put(store: MemoryStore, page: Uint8Array, { txid, commit, pgnos }: Claim): Promise<void> {
  const chunks: Uint8Array[] = [];
  const header = {
    flags: FLAG_NO_CHECKSUM,
    pageSizeBytes: page.length,
    commit,
    minTxid: txid as Txid,
    maxTxid: txid as Txid,
    timestampMs: 1_700_000_000_000 + txid,
    preApplyChecksum: NO_CHECKSUM,
    ...{ walOffset: 0, walSizeBytes: 0, walSalt1: 0, walSalt2: 0, nodeId: 0n },
  };
  const encoder = new LtxEncoder(header, (bytes) => chunks.push(bytes.slice()));
  for (const pgno of pgnos) encoder.page(pgno, page);
  encoder.finish(NO_CHECKSUM);
  const key = objectKey("s3", "app", txid === 1 ? 9 : 0, txid as Txid, txid as Txid);
  await store.put(key, { kind: "bytes", bytes: new Uint8Array(Buffer.concat(chunks)) });
}

/** A store with a sound first snapshot of one page, followed by objects with false claims. */
async function storeOf(pageSizeBytes: number, claims: readonly Claim[]): Promise<MemoryStore> {
  const store = new MemoryStore();
  const page = firstPage(pageSizeBytes);
  for (const claim of [{ txid: 1, commit: 1, pgnos: [1] }, ...claims]) await put(store, page, claim);
  return store;
}

const HUGE: [string, readonly Claim[]][] = [
  ["four billion pages in one object", [{ txid: 2, commit: PAGES_MAX, pgnos: [1] }]],
  ["a page at the very end", [{ txid: 2, commit: PAGES_MAX, pgnos: [1, PAGES_MAX - 1] }]],
  ["no page at all", [{ txid: 2, commit: 1 << 30, pgnos: [] }]],
  [
    "many steps that are small by themselves",
    Array.from({ length: 40 }, (_, index) => ({ txid: index + 2, commit: 8_000 * (index + 1), pgnos: [1] })),
  ],
  [
    "growth that shrinks away again and again",
    Array.from({ length: 40 }, (_, i) => ({ txid: i + 2, commit: i % 2 === 0 ? 15_000 : 1, pgnos: [1] })),
  ],
];

describe.each([4096, 65_536])("with pages of %p bytes", (pageSizeBytes) => {
  test.each(HUGE)("restore refuses %s and leaves nothing", async (_what, claims) => {
    const store = await storeOf(pageSizeBytes, claims);
    const outputPath = join(tempFolder("claims"), "out.db");
    const request = {
      name: "app",
      outputPath,
      point: { kind: "latest" },
      force: false,
      dryRun: false,
    } as const;
    const { env } = recordingEnv();
    const restoring = restore(request, { store, env });
    await expect(restoring).rejects.toMatchObject({
      code: "integrity",
      message: expect.stringContaining("grow"),
    });
    expect([existsSync(outputPath), readdirSync(dirname(outputPath))]).toEqual([false, []]);
  });

  test.each(HUGE)("replicate refuses %s and keeps its WAL short", async (_what, claims) => {
    const store = await storeOf(pageSizeBytes, []);
    const localPath = join(tempFolder("claims"), "replica.db");
    const run = new ReplicaRun(store, localPath);
    await run.waitForTxid(1);
    for (const claim of claims) await put(store, firstPage(pageSizeBytes), claim);
    await run.waitFor(() => run.eventsOf("failed").length > 0);
    expect(statSync(`${localPath}-wal`).size).toBeLessThan(2 * CLAIMED_SIZE_MAX);
    await run.stop();
  });

  test.each(HUGE.slice(0, 3))("verify finds %s from headers alone", async (_what, claims) => {
    const report = await verifyDatabase(await storeOf(pageSizeBytes, claims), "app", {}, recordingEnv().env);
    const found = report.findings.filter(({ severity }) => severity === "error");
    expect(found.map(({ code, txid }) => [code, txid])).toEqual([["bad-size", 2]]);
  });
});

test("a database may still grow by a few pages that no object holds", async () => {
  const store = await storeOf(4096, [{ txid: 2, commit: 10, pgnos: [1, 7] }]);
  const run = new ReplicaRun(store, join(tempFolder("claims"), "replica.db"));
  await run.waitForTxid(2);
  await run.stop();
  const report = await verifyDatabase(store, "app", {}, recordingEnv().env);
  expect(report.findings.filter(({ severity }) => severity === "error")).toEqual([]);
});

test("GrowthLimit discards an object that was not applied", () => {
  const limit = new GrowthLimit();
  for (let attempt = 0; attempt < 100; attempt++) {
    limit.begin(1, 4096);
    limit.end("k", 10_000);
  }
  limit.keep();
  limit.begin(10_000, 4096);
  expect(() => limit.end("k", 20_000)).toThrow("19999 new pages");
});

test("GrowthLimit allows one missing page for each received page, and does not count the lock page", () => {
  const limit = new GrowthLimit();
  const free = CLAIMED_SIZE_MAX / 4096;
  limit.begin(0, 4096);
  for (let pgno = 1; pgno <= 1000; pgno++) limit.page("k", pgno);
  limit.end("k", 1000 + free + 1000);
  limit.keep();
  limit.begin(1000, 4096);
  expect(() => limit.end("k", 1001)).toThrow(
    "2 new pages that no object holds".replace("2", `${free + 1001}`),
  );
  const beside = new GrowthLimit();
  const lock = 2 ** 30 / 4096 + 1;
  beside.begin(lock - 1, 4096);
  beside.end("k", lock + free);
  beside.keep();
  beside.begin(lock + free, 4096);
  expect(() => beside.end("k", lock + free + 1)).toThrow("grow");
});
