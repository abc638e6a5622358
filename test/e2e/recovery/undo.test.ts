/** Undo with the built executable: after a restore over a live database, beside a watch, and undone again. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync, renameSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { assertSameBytes } from "../../support/histories/database-files.ts";
import { recordHistory } from "../../support/histories/history.ts";
import { failureDocument } from "../../support/oracles/run-checks.ts";
import { documentOf, mustWalrust, runWalrust } from "../../support/processes/binary.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";

setDefaultTimeout(60_000);

interface Undone {
  readonly path: string;
  readonly restored_from: string;
  readonly replaced_at: string;
  readonly replaced_by: string;
  readonly kept: string | null;
  readonly state: string;
}

test("undo puts the database back, a watch continues, and an undo can be undone", async () => {
  const history = await recordHistory(fileDestination());
  const { database, points } = history;
  const there = history.destination.words;
  const newest = points.at(-1)!;
  const restore = ["restore", "app", "-o", database, "--force", "--point-in-time", "txid:2", ...there];
  const { previous } = documentOf<{ previous: string }>(await mustWalrust([...restore, "--json"]));
  assertSameBytes(database, points[1]!.imagePath);

  const undone = documentOf<Undone>(await mustWalrust(["undo", database, "--json"]));
  assertSameBytes(database, newest.imagePath);
  expect(undone).toMatchObject({ path: database, restored_from: previous, state: "returned" });
  expect(undone.replaced_by).toBe("restore");
  assertSameBytes(undone.kept!, points[1]!.imagePath);
  expect(previous).toContain(undone.replaced_at.replace(/[:.]/g, "-"));

  const before = await history.destination.objects("app");
  const watch = await WatchProcess.start([database, ...there, "--wal-sync-interval", "0.05"]);
  await watch.waitFor("watching", () => watch.eventsOf("watching").length > 0);
  const refused = await runWalrust(["undo", database, "--json"]);
  expect([refused.exitCode, failureDocument(refused)["code"]]).toEqual([3, "database"]);
  // The file was renamed, so the first look compares its pages. A commit before that look is anchored.
  await mustWalrust(["sync", "app", ...there]);
  for (const verb of [["undo", database], restore]) {
    const { exitCode, stderr } = await runWalrust(verb);
    expect([exitCode, stderr]).toEqual([3, expect.stringContaining(`in use by walrust (pid ${watch.pid})`)]);
    expect(stderr).toContain(`Stop the watch (kill ${watch.pid}, or systemctl stop for a unit)`);
  }
  const app = await SqliteProcess.open(database);
  await app.must("UPDATE item SET body = 'after the undo' WHERE id = 1");
  await watch.waitForTxid(newest.txid + 1, "app");
  await app.close();
  expect(await watch.stop()).toBe(0);
  expect(watch.eventsOf("re-anchored")).toEqual([]);
  expect((await history.destination.objects("app")).length).toBe(before.length + 1);

  const text = await mustWalrust(["undo", database]);
  assertSameBytes(database, points[1]!.imagePath);
  expect(text.stdout).toContain(`${database}: took back the last undo: the restored file`);
  expect(text.stdout).toContain(`the file of before the restore is now ${database}.pre-restore-`);
  expect(text.stdout).toContain("a watch continues the history with the pages that differ");
});

test("undo without a replaced file ends with 6; restore names one whose place is empty", async () => {
  const history = await recordHistory(fileDestination(), ["DELETE FROM item"]);
  const { database, points, folder } = history;
  const nothing = await runWalrust(["undo", database]);
  expect([nothing.exitCode, nothing.stderr.includes("nothing to undo")]).toEqual([6, true]);
  const output = join(folder, "restored", "app.db");
  const restore = ["restore", "app", "-o", output, ...history.destination.words];
  await mustWalrust([...restore, "--point-in-time", "txid:1"]);
  await mustWalrust([...restore, "--force"]);
  // As a restore leaves it that was killed while it exchanged a log.
  renameSync(output, `${output}.gone`);
  const run = await mustWalrust(restore);
  expect(run.stderr).toContain(`${output} is missing, and ${output}.pre-restore-`);
  expect(run.stderr).toContain(`walrust undo ${output}`);
  await mustWalrust(["undo", output]);
  assertSameBytes(output, points[0]!.imagePath);
  const kept = readdirSync(dirname(output)).filter((name) => name.startsWith(`${basename(output)}.pre-`));
  expect([kept.length, existsSync(output)]).toEqual([1, true]);
});
