/** Reasons to attach a database again after a failure: files that a job needs are missing or replaced. */
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

test("lostFilesReasonOrNull: a missing state folder is a reason after a failure", async () => {
  const one = await live();
  expect(lostFilesReasonOrNull(one, false, true)).toBeNull();
  rmSync(one.paths.spoolFolder, { recursive: true });
  expect(lostFilesReasonOrNull(one, false, false)).toBeNull();
  expect(lostFilesReasonOrNull(one, false, true)).toContain("state folder");
  rmSync(one.paths.folder, { recursive: true });
  expect(lostFilesReasonOrNull(one, false, true)).toContain("state folder");
});

test("lostFilesReasonOrNull: missing page sums are a reason once a state exists", async () => {
  const one = { ...(await live()), state: {} } as unknown as LiveDatabase;
  expect(lostFilesReasonOrNull(one, false, true)).toContain("state folder");
  writeFileSync(one.paths.sumsPath, "");
  expect(lostFilesReasonOrNull(one, false, true)).toBeNull();
});

test("lostFilesReasonOrNull: a WAL that is not the one of the wal-index is a reason", async () => {
  const one = await live();
  expect(lostFilesReasonOrNull(one, true, true)).toBeNull();
  // The same file, empty.
  writeFileSync(`${one.path}-wal`, "");
  expect(lostFilesReasonOrNull(one, true, false)).toBeNull();
  expect(lostFilesReasonOrNull(one, true, true)).toContain("not the one that its index shows");
  renameSync(`${one.path}-wal`, `${one.path}-wal.old`);
  expect(lostFilesReasonOrNull(one, true, false)).toContain("its files were replaced");
});
