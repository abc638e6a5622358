/** The names of replaced files: their order, and the names that do not count. */
import { afterEach, expect, test } from "bun:test";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  isStampOfUndo,
  keptFiles,
  keptName,
  newStamp,
  timeOfStamp,
} from "../../../src/recovery/restore/kept-files.ts";
import { TargetFolder } from "../../../src/recovery/restore/target-folder.ts";
import { tempFolder } from "../../support/temp.ts";

const OLDER = "2026-03-01T12-00-00-000Z";
const NEWER = "2026-03-01T12-00-00-001Z";
const open: TargetFolder[] = [];

afterEach(() => {
  for (const folder of open.splice(0)) folder.close();
});

/** A folder with these files, and the target `app.db`. */
function folderWith(...names: string[]): TargetFolder {
  const path = tempFolder("kept");
  for (const name of names) writeFileSync(join(path, name), "");
  const folder = TargetFolder.open(join(path, "app.db"));
  open.push(folder);
  return folder;
}

test("keptFiles gives the newest first, with the files beside each database", () => {
  const [older, newer] = [keptName("app.db", OLDER), keptName("app.db", NEWER)];
  const folder = folderWith("app.db", older, `${older}-wal`, `${older}-shm`, newer, `${newer}-journal`);
  expect(keptFiles(folder)).toEqual([
    { stamp: NEWER, name: newer, suffixes: new Set(["", "-journal"] as const) },
    { stamp: OLDER, name: older, suffixes: new Set(["", "-wal", "-shm"] as const) },
  ]);
});

test("keptFiles counts no other target, no other form of a time, no folder and no link", () => {
  const folder = folderWith(
    keptName("other.db", OLDER),
    keptName("app.db", "yesterday"),
    `${keptName("app.db", OLDER)}-copy`,
    keptName("app.db", `${OLDER}.pre-restore-${OLDER}`),
  );
  mkdirSync(folder.at(keptName("app.db", OLDER)));
  symlinkSync("app.db", folder.at(keptName("app.db", NEWER)));
  expect(keptFiles(folder)).toEqual([]);
});

test("the stamp of an undo is one of its own, and later than that of the restore", () => {
  const stamp = newStamp(folderWith(keptName("app.db", OLDER)), timeOfStamp(OLDER), "undo");
  expect(stamp).toBe(`${NEWER}-undo`);
  expect([isStampOfUndo(stamp), isStampOfUndo(NEWER)]).toEqual([true, false]);
  const [older, undone] = [keptName("app.db", OLDER), keptName("app.db", stamp)];
  const folder = folderWith(older, undone, `${undone}-wal`);
  expect(keptFiles(folder).map(({ name }) => name)).toEqual([undone, older]);
  expect(keptFiles(folder)[0]!.suffixes).toEqual(new Set(["", "-wal"] as const));
  expect(newStamp(folder, 0)).toBe("2026-03-01T12-00-00-002Z");
});

test("newStamp is later than all kept files, even after the clock was set back", () => {
  const beforeMs = timeOfStamp(OLDER) - 3_600_000;
  expect(newStamp(folderWith(), beforeMs)).toBe("2026-03-01T11-00-00-000Z");
  expect(newStamp(folderWith(keptName("app.db", OLDER)), beforeMs)).toBe(NEWER);
  // A log that was kept alone occupies its stamp too.
  expect(newStamp(folderWith(`${keptName("app.db", OLDER)}-wal`), timeOfStamp(OLDER))).toBe(NEWER);
});
