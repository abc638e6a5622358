/** The files of a database, as events tell of them, on a fake clock. */
import { expect, test } from "bun:test";
import { liveAt, Run } from "./wake-ups-run.ts";

/** A database whose WAL and folder are watched, and whose files are checked. */
function watchedRun(): Run {
  const run = new Run();
  run.look();
  expect(run.woken.turn.fileNewsOf(run.live)).toBe("touched");
  check(run);
  expect(run.woken.turn.fileNewsOf(run.live)).toBe("still");
  return run;
}

/** A look that checks the files. */
function check(run: Run): void {
  run.nowMs += 2_000;
  run.filesCheckedMs = run.nowMs;
  run.look();
}

test.each(["app.db", "app.db-wal", "app.db-shm"])("an event for %s has its files checked at once", (name) => {
  const run = watchedRun();
  run.nowMs += 10;
  run.hint(1_000, false, name);
  run.look();
  expect(run.woken.turn.fileNewsOf(run.live)).toBe("touched");
  check(run);
  run.nowMs += 2_000;
  run.look();
  expect(run.woken.turn.fileNewsOf(run.live)).toBe("still");
});

test.each(["other.db", "app.db-journal", "app.db.bak"])("an event for %s means no other file", (name) => {
  const run = watchedRun();
  run.hint(1_000, false, name);
  expect(run.woken.turn.fileNewsOf(run.live)).toBe("still");
  expect(run.wakeUps.isDue(run.woken, run.nowMs)).toBe(false);
});

test.each([
  ["app.db", "touched"],
  ["app.db-wal", "still"],
  ["app.db-shm", "still"],
] as const)("after a close of %s the files are %s", (name, expected) => {
  const run = watchedRun();
  run.hint(1_000, true, name);
  expect(run.woken.turn.fileNewsOf(run.live)).toBe(expected);
});

test("lost events mean every file", () => {
  const run = watchedRun();
  run.nowMs += 10;
  run.hint(null);
  run.look();
  expect(run.woken.turn.fileNewsOf(run.live)).toBe("touched");
});

test("a folder that was moved sends no more events: nothing is known of its files", () => {
  const run = watchedRun();
  run.hint(1_000);
  expect(run.woken.turn.fileNewsOf(run.live)).toBe("touched");
  expect(run.folders).toEqual([""]);
  check(run);
  run.nowMs += 2_000;
  run.look();
  expect(run.woken.turn.fileNewsOf(run.live)).toBe("unknown");
});

test("a WAL is written until it is captured; of another attached database nothing is known", () => {
  const run = watchedRun();
  expect(run.woken.turn.fileNewsOf(liveAt("/data/app.db", false))).toBe("unknown");
  run.hint(1);
  expect(run.woken.turn.fileNewsOf(run.live)).toBe("written");
  run.hint(1_000, false, "app.db");
  expect(run.woken.turn.fileNewsOf(run.live)).toBe("touched");
});

test("a folder is watched until the last of its databases leaves", () => {
  const run = watchedRun();
  const other = new Run();
  other.live = liveAt("/data/other.db", false);
  run.wakeUps.looked(other.woken, run.nowMs);
  run.wakeUps.forget(run.woken);
  expect(run.folders).toEqual(["/data"]);
  run.wakeUps.forget(other.woken);
  expect(run.folders).toEqual([""]);
});
