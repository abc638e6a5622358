/** Metadata that a gateway lost: restores succeed, and verify warns and names the missing fields. */
import { describe, expect, test } from "bun:test";
import { verifyDatabase } from "../../../src/recovery/verify/verify-database.ts";
import type { VerifyReport } from "../../../src/recovery/verify/verify-report.ts";
import { History, verifyEnv } from "./verify-history.ts";

async function someHistory(): Promise<History> {
  const history = await History.begin();
  await history.increments(9);
  await history.snapshot();
  await history.increments(3);
  await history.manifest();
  return history;
}

const verify = (history: History): Promise<VerifyReport> =>
  verifyDatabase(history.store, history.name, { readPercent: 100, restore: true }, verifyEnv());

/** Drops metadata fields of all objects, as a gateway does. */
async function dropFields(history: History, isDropped: (field: string) => boolean): Promise<void> {
  for (const { key } of await history.objects()) {
    await history.edit(key, ({ metadata }) => ({
      metadata: Object.fromEntries(Object.entries(metadata).filter(([field]) => !isDropped(field))),
    }));
  }
}

describe("verifyDatabase of objects whose metadata the storage lost", () => {
  test.each([
    ["everything", () => true, "sha256, chain, prev-chain, walrust-writer"],
    ["names with a hyphen", (field: string) => field.includes("-"), "prev-chain, walrust-writer"],
    ["the writer", (field: string) => field === "walrust-writer", "walrust-writer"],
    ["the chain", (field: string) => field === "chain", "chain"],
    ["the value before", (field: string) => field === "prev-chain", "prev-chain"],
    ["the SHA-256", (field: string) => field === "sha256", "sha256"],
  ])("%s: one warning names the fields, and the restore succeeds", async (_, isDropped, fields) => {
    const history = await someHistory();
    const objects = await history.objects();
    await dropFields(history, isDropped);
    const report = await verify(history);
    const lost = report.findings.filter(({ code }) => code === "metadata-lost");
    expect([lost.length, report.status]).toEqual([1, "warnings"]);
    expect(lost[0]!.message).toContain(`(${fields})`);
    expect(report.checked.restoredTxid).toBe(13);
    expect(report.checked.lostMetadataObjects).toBeGreaterThan(objects.length - 3);
  });

  test("no warning if all fields are there, or if walrust wrote none of the objects", async () => {
    const history = await someHistory();
    expect((await verify(history)).checked.lostMetadataObjects).toBe(0);
    await dropFields(history, () => true);
    await history.delete(history.manifestKey);
    expect((await verify(history)).checked.lostMetadataObjects).toBe(0);
  });

  test("a field that contradicts another one remains an error", async () => {
    const history = await someHistory();
    await dropFields(history, (field) => field === "prev-chain");
    await history.edit(history.key(0, 5), ({ metadata }) => ({
      metadata: { ...metadata, "prev-chain": "ab".repeat(32) },
    }));
    const report = await verify(history);
    expect(report.status).toBe("errors");
    expect(report.findings.map(({ code }) => code)).toContain("broken-chain");
  });
});
