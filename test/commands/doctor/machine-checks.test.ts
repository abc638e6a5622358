/** The limits of a machine against the number of databases. */
import { expect, test } from "bun:test";
import {
  checkMachine,
  type MachineFacts,
  machineFacts,
} from "../../../src/commands/doctor/machine-checks.ts";
import { tempFolder } from "../../support/temp.ts";

const ENOUGH: MachineFacts = {
  databaseCount: 500,
  uploadCount: 128,
  openFilesMax: 65_536,
  process: "this process",
  inotifyWatchesMax: 100_000,
  hasOfdLocks: true,
  tempFolder: tempFolder("machine"),
};

function statuses(facts: Partial<MachineFacts>): Record<string, string> {
  return Object.fromEntries(
    checkMachine({ ...ENOUGH, ...facts }).all.map(({ check, status }) => [check, status]),
  );
}

test("checkMachine finds nothing where there is enough of everything, or no limit", () => {
  const fine = { "open-files": "ok", inotify: "ok", locks: "ok", temp: "ok" };
  expect(statuses({})).toEqual(fine);
  expect(statuses({ openFilesMax: null, inotifyWatchesMax: null })).toEqual(fine);
});

test.each([
  [{ openFilesMax: 1_024 }, "open-files", "LimitNOFILE=1228"],
  [{ inotifyWatchesMax: 999 }, "inotify", "fs.inotify.max_user_watches"],
  [{ hasOfdLocks: false }, "locks", "kernel"],
  [{ tempFolder: "/none/at/all" }, "temp", "TMPDIR"],
] as const)("checkMachine names a limit that is too low: %j", (facts, name, hint) => {
  expect(statuses(facts)[name]).not.toBe("ok");
  const found = checkMachine({ ...ENOUGH, ...facts }).all.find(({ check }) => check === name);
  expect(found!.hint).toContain(hint);
});

test("machineFacts reads the limits of this machine", () => {
  const facts = machineFacts(3, 4, null);
  expect(facts).toMatchObject({ databaseCount: 3, uploadCount: 4, process: "this process" });
  const { process: owner, openFilesMax } = machineFacts(3, 4, process.pid);
  expect([owner, openFilesMax]).toEqual([`the watch with pid ${process.pid}`, facts.openFilesMax]);
  if (process.platform === "linux") expect(facts.inotifyWatchesMax).toBeGreaterThan(0);
});
