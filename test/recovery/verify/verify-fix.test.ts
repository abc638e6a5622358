/**
 * verify --fix: its repairs, the objects that it does not change, and the leftovers of a file:// destination.
 */
import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Env } from "../../../src/env.ts";
import { hasCode } from "../../../src/errors.ts";
import { verifyDatabase } from "../../../src/recovery/verify/verify-database.ts";
import { fixDatabase } from "../../../src/recovery/verify/verify-fix.ts";
import { readManifest } from "../../../src/storage/bucket/manifest.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { FileStore } from "../../../src/storage/file/file-store.ts";
import { tempFolder } from "../../support/temp.ts";
import { History, verifyEnv } from "./verify-history.ts";

/** Verifies, repairs, and verifies again. */
async function fix(store: ObjectStore, name: string, env: Env = verifyEnv()) {
  const before = await verifyDatabase(store, name, {}, env);
  const repairs = await fixDatabase(store, before, env);
  const after = await verifyDatabase(store, name, {}, env);
  return { before, repairs, after };
}

async function keysOf(store: ObjectStore): Promise<string[]> {
  return (await Array.fromAsync(store.list(""))).map(({ key }) => key);
}

async function soundHistory(): Promise<History> {
  const history = await History.begin();
  await history.increments(6);
  await history.snapshot();
  await history.increments(3);
  await history.manifest();
  return history;
}

/** A folder with the objects and sidecars of a history. */
async function fileBucket(): Promise<{ folder: string; store: FileStore; name: string }> {
  const history = await History.begin({ layout: "file" });
  await history.increments(3);
  await history.manifest();
  const folder = tempFolder("bucket");
  const store = new FileStore({ path: folder });
  for (const { key, modifiedMs } of await Array.fromAsync(history.store.list(""))) {
    const { bytes, metadata } = await history.read(key);
    await store.put(key, { kind: "bytes", bytes }, { metadata, modifiedMs });
  }
  return { folder, store, name: history.name };
}

/** A clock two hours ahead: the files of the test are no longer young. */
function inTwoHours(): Env {
  const env = verifyEnv();
  return { ...env, nowMs: () => performance.timeOrigin + performance.now() + 7_200_000 };
}

const MANIFEST_DAMAGE: readonly (readonly [what: string, act: (history: History) => Promise<void>])[] = [
  ["missing", (h) => h.delete(h.manifestKey)],
  ["unreadable", (h) => h.edit(h.manifestKey, () => ({ bytes: new Uint8Array([1]) }))],
  ["stale", (h) => h.edit(h.manifestKey, withoutSnapshots)],
];

describe("fixDatabase", () => {
  test("does not change a sound bucket", async () => {
    const { store, name } = await soundHistory();
    const keys = await keysOf(store);
    expect((await fix(store, name)).repairs).toEqual([]);
    expect(await keysOf(store)).toEqual(keys);
  });

  test.each(MANIFEST_DAMAGE)("restores a manifest that is %s to its former content", async (what, act) => {
    const history = await soundHistory();
    const expected = await readManifest(history.store, history.name);
    await act(history);
    const { before, repairs, after } = await fix(history.store, history.name);
    expect(before.status).toBe("warnings");
    expect(repairs.map(({ code, object }) => `${code} ${object}`)).toEqual([
      `manifest-${what} ${history.manifestKey}`,
    ]);
    expect(after.findings).toEqual([]);
    expect(await readManifest(history.store, history.name)).toEqual(expected);
  });

  test("deletes objects before the oldest snapshot and temporary keys, and nothing else", async () => {
    const history = await soundHistory();
    await history.write(`${history.name}/0000/x.ltx.tmp`, { bytes: new Uint8Array(1), metadata: {} });
    await history.write(`${history.name}/0000/notes`, { bytes: new Uint8Array(1), metadata: {} });
    await history.delete(history.key(9, 1));
    const { repairs, after } = await fix(history.store, history.name);
    expect(repairs.map(({ code }) => code)).toEqual([
      "temporary-file",
      ...Array.from({ length: 6 }, () => "unreachable-object" as const),
      "manifest-stale",
    ]);
    expect(after.findings.map(({ code }) => code)).toEqual(["unknown-key"]);
    expect(await keysOf(history.store)).toEqual([
      `${history.name}/0000/${"0".repeat(15)}8-${"0".repeat(15)}8.ltx`,
      `${history.name}/0000/${"0".repeat(15)}9-${"0".repeat(15)}9.ltx`,
      `${history.name}/0000/${"0".repeat(15)}a-${"0".repeat(15)}a.ltx`,
      `${history.name}/0000/notes`,
      `${history.name}/0009/${"0".repeat(15)}1-${"0".repeat(15)}7.ltx`,
      history.manifestKey,
    ]);
  });

  test("does not change manifest and old objects while there are errors", async () => {
    const history = await soundHistory();
    await history.delete(history.key(9, 1), history.key(0, 9));
    const keys = await keysOf(history.store);
    const manifest = await readManifest(history.store, history.name);
    const { before, repairs } = await fix(history.store, history.name);
    expect(new Set(before.findings.map(({ code }) => code))).toEqual(
      new Set(["gap", "manifest-stale", "unreachable-object"]),
    );
    expect(repairs).toEqual([]);
    expect(await keysOf(history.store)).toEqual(keys);
    expect(await readManifest(history.store, history.name)).toEqual(manifest);
  });

  test("keeps the manifest that witnesses a deletion", async () => {
    const history = await soundHistory();
    await history.delete(history.key(0, 10));
    const { repairs, after } = await fix(history.store, history.name);
    expect([repairs, after.findings.map(({ code }) => code)]).toEqual([[], ["manifest-ahead"]]);
  });

  test("makes no manifest from an object of another program", async () => {
    const history = await soundHistory();
    await history.delete(history.manifestKey);
    await history.edit(history.key(0, 10), () => ({ metadata: {} }));
    const { repairs, after } = await fix(history.store, history.name);
    const codes = after.findings.map(({ code }) => code);
    expect([repairs, codes]).toEqual([[], ["metadata-lost", "manifest-missing"]]);
  });
});

function withoutSnapshots({ bytes }: { bytes: Uint8Array }): { bytes: Uint8Array } {
  const manifest = JSON.parse(new TextDecoder().decode(bytes));
  return { bytes: new TextEncoder().encode(JSON.stringify({ ...manifest, snapshots: [] })) };
}

describe("leftovers of a file:// destination", () => {
  test("stray sidecars and temporary files of walrust and Litestream are found and deleted", async () => {
    const { folder, store, name } = await fileBucket();
    const level = join(folder, name, "ltx", "0");
    const strays = [
      join(level, "0000000000000063-0000000000000063.ltx.meta.json"),
      join(level, ".0123456789abcdef.tmp"),
      join(level, "0000000000000063-0000000000000063.ltx.tmp"),
      join(folder, name, ".0123456789abcdef.tmp"),
    ];
    for (const path of strays) writeFileSync(path, "{}");
    mkdirSync(join(level, "folder.tmp"));
    const { before, repairs, after } = await fix(store, name, inTwoHours());
    expect(before.findings.map(({ code }) => code).sort()).toEqual([
      "orphan-sidecar",
      "temporary-file",
      "temporary-file",
      "temporary-file",
    ]);
    expect(repairs.map(({ object }) => join(folder, object)).sort()).toEqual([...strays].sort());
    expect(after.findings).toEqual([]);
    expect(strays.filter((path) => existsSync(path))).toEqual([]);
    expect(readdirSync(level)).toContain("folder.tmp");
  });

  test("only temporary files are deleted while there are errors: a sidecar may be evidence", async () => {
    const { folder, store, name } = await fileBucket();
    const level = join(folder, name, "ltx", "0");
    writeFileSync(join(level, ".0123456789abcdef.tmp"), "");
    rmSync(join(level, "0000000000000003-0000000000000003.ltx"));
    const { repairs, after } = await fix(store, name, inTwoHours());
    expect(repairs.map(({ code }) => code)).toEqual(["temporary-file"]);
    expect(after.findings.map(({ code }) => code)).toEqual(["gap", "orphan-sidecar"]);
  });

  test("young files belong to a running upload: no finding", async () => {
    const { folder, store, name } = await fileBucket();
    writeFileSync(join(folder, name, "ltx", "0", ".0123456789abcdef.tmp"), "");
    const env = { ...inTwoHours(), nowMs: () => inTwoHours().nowMs() - 7_200_000 };
    const report = await verifyDatabase(store, name, {}, env);
    expect(report.findings.filter(({ code }) => !code.startsWith("manifest"))).toEqual([]);
  });

  test("removeLeftovers keeps objects, and sidecars whose object has arrived meanwhile", async () => {
    const { folder, store, name } = await fileBucket();
    const key = `${name}/ltx/0/0000000000000002-0000000000000002.ltx`;
    expect(await store.removeLeftovers([key, `${key}.meta.json`])).toEqual([]);
    expect([existsSync(join(folder, key)), existsSync(join(folder, `${key}.meta.json`))]).toEqual([
      true,
      true,
    ]);
  });

  test("a missing sidecar leaves an object without metadata, which endangers no restore", async () => {
    const { folder, store, name } = await fileBucket();
    rmSync(join(folder, name, "ltx", "0", "0000000000000002-0000000000000002.ltx.meta.json"));
    const report = await verifyDatabase(store, name, {}, inTwoHours());
    expect(report.findings.map(({ code }) => code)).toEqual(["metadata-lost"]);
  });

  test("an object that disappears between its head and its bytes is not-found", async () => {
    const { folder, store, name } = await fileBucket();
    const key = `${name}/ltx/9/large`;
    await store.put(key, { kind: "bytes", bytes: new Uint8Array(600_000) });
    const body = await store.get(key);
    rmSync(join(folder, key));
    const thrown = await body.bytes().catch((error) => error);
    expect(hasCode(thrown, "not-found")).toBe(true);
  });

  test("a sidecar that is not JSON is bad metadata", async () => {
    const { folder, store, name } = await fileBucket();
    const path = join(folder, name, "ltx", "0", "0000000000000002-0000000000000002.ltx.meta.json");
    writeFileSync(path, "{");
    const report = await verifyDatabase(store, name, {}, inTwoHours());
    expect(report.findings.map(({ code }) => code)).toEqual(["bad-metadata"]);
  });
});
