/**
 * Named databases whose name is a symbolic link. When the link leads to another file, that file continues the
 * history of the first. While the link is broken, its last file stays watched, and the status shows it.
 */
import { expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import type { Unwatchable } from "../../../src/discovery/discovered.ts";
import { WalrustError } from "../../../src/errors.ts";
import { eventually } from "../../support/eventually.ts";
import { rowsOf } from "../../support/oracles/database-image.ts";
import { newestImage, provenHistory } from "../../support/oracles/history-oracle.ts";
import { FleetRun } from "../../support/runs/fleet-run.ts";
import { newDatabase, targetOf } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const NAMED = { isNamedOnly: true };
const ROWS = "SELECT v FROM t ORDER BY id";

test("watch follows a name to another file, there and back, in one history", async () => {
  const [one, two] = [await newDatabase(), await newDatabase()];
  await two.app.must("INSERT INTO t(v) VALUES ('release 2')");
  const store = new MemoryStore();
  const run = await new FleetRun([targetOf(one.path)], store, NAMED).watching();
  await run.uploaded(1);

  await run.find(targetOf(two.path));
  await run.until("the other file", () => run.all("watching").at(-1)?.path === two.path);
  await two.app.must("INSERT INTO t(v) VALUES ('after the swap')");
  // The first object after the swap may be the difference between the files, without this commit.
  const expected = [["first"], ["release 2"], ["after the swap"]];
  await eventually("the rows of the other file", async () =>
    isDeepStrictEqual(rowsOf(await newestImage(store, "app"), ROWS), expected),
  );

  await run.find(targetOf(one.path));
  await run.until("the first file", () => run.all("watching").at(-1)?.path === one.path);
  await run.commit(one.app, "INSERT INTO t(v) VALUES ('rolled back to')");
  expect(await run.stop()).toEqual({ stopped: [], undrained: [], uncaptured: [] });
  await provenHistory(store, "app");
  expect(rowsOf(await newestImage(store, "app"), ROWS)).toEqual([["first"], ["rolled back to"]]);
  expect(run.saidCount("which this process wrote")).toBe(2);
  expect(run.isSaid("another writer")).toBe(false);
  await Promise.all([one.app.close(), two.app.close()]);
});

test("watch keeps the file of a broken link, and shows it until the link leads to a file", async () => {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const run = await new FleetRun([targetOf(path)], store, NAMED).watching();
  await run.uploaded(1);
  const error = new WalrustError("database", "Cannot find current/app.db: ENOENT");
  const nowhere: Unwatchable = { path, name: "app", isMissing: true, error };
  run.unwatchable = [nowhere];
  await run.find();
  expect(run.status().conditions).toMatchObject([{ code: "name-leads-nowhere", health: "degraded" }]);
  await run.commit(app, "INSERT INTO t(v) VALUES ('meanwhile')");
  run.unwatchable = [];
  await run.find(targetOf(path));
  expect(run.status().conditions).toEqual([]);
  expect(await run.stop()).toEqual({ stopped: [], undrained: [], uncaptured: [] });
  await app.close();
});

test("a deleted state under a running watch does not make its own objects another writer's", async () => {
  const { path, app } = await newDatabase();
  const target = targetOf(path);
  const run = await new FleetRun([target], new MemoryStore(), NAMED).watching();
  await run.uploaded(1);
  rmSync(target.paths.folder, { recursive: true });
  await app.must("INSERT INTO t(v) VALUES ('without state')");
  await run.until("the re-anchor", () => run.isSaid("which this process wrote"));
  expect(run.isSaid("another writer")).toBe(false);
  await run.stop();
  await app.close();
});
