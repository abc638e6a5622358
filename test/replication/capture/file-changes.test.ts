/**
 * Why a database has to be attached again after a failure: files that a job needs are gone, or are others.
 */
import { afterEach, expect, test } from "bun:test";
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { lostFilesReasonOrNull } from "../../../src/replication/capture/file-changes.ts";
import type { LiveDatabase } from "../../../src/replication/capture/live-database.ts";
import { closeAll, pinned, walDatabase } from "../../support/runs/pinned-database.ts";

afterEach(closeAll);

/** A pinned database with an empty state folder. */
async function live(): Promise<LiveDatabase> {
  const { path } = await walDatabase();
  const folder = join(dirname(path), "state");
  const paths = { folder, spoolFolder: join(folder, "ltx"), sumsPath: join(folder, "pages.sum") };
  mkdirSync(paths.spoolFolder, { recursive: true });
  return { path, paths, pin: pinned(path), state: null } as unknown as LiveDatabase;
}

test("lostFilesReasonOrNull: a state folder that is gone counts after a failure", async () => {
  const one = await live();
  expect(lostFilesReasonOrNull(one, false, true)).toBeNull();
  rmSync(one.paths.spoolFolder, { recursive: true });
  expect(lostFilesReasonOrNull(one, false, false)).toBeNull();
  expect(lostFilesReasonOrNull(one, false, true)).toContain("state folder");
  rmSync(one.paths.folder, { recursive: true });
  expect(lostFilesReasonOrNull(one, false, true)).toContain("state folder");
});

test("lostFilesReasonOrNull: the page sums count once there is a state", async () => {
  const one = { ...(await live()), state: {} } as unknown as LiveDatabase;
  expect(lostFilesReasonOrNull(one, false, true)).toContain("state folder");
  writeFileSync(one.paths.sumsPath, "");
  expect(lostFilesReasonOrNull(one, false, true)).toBeNull();
});

test("lostFilesReasonOrNull: another WAL than the one that the wal-index shows", async () => {
  const one = await live();
  expect(lostFilesReasonOrNull(one, true, true)).toBeNull();
  // The same file, with nothing in it.
  writeFileSync(`${one.path}-wal`, "");
  expect(lostFilesReasonOrNull(one, true, false)).toBeNull();
  expect(lostFilesReasonOrNull(one, true, true)).toContain("not the one that its index shows");
  renameSync(`${one.path}-wal`, `${one.path}-wal.old`);
  expect(lostFilesReasonOrNull(one, true, false)).toContain("its files were replaced");
});
