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
  inotifyInstancesMax: 128,
  inotify: { otherInstances: 100, otherWatches: 50_000, ownInstances: 0 },
  hasOfdLocks: true,
  tempFolder: tempFolder("machine"),
};

function statuses(facts: Partial<MachineFacts>): Record<string, string> {
  return Object.fromEntries(
    checkMachine({ ...ENOUGH, ...facts }).all.map(({ check, status }) => [check, status]),
  );
}

test("checkMachine finds nothing where there is enough of everything, or no limit", () => {
  const fine = { "open-files": "ok", inotify: "ok", "inotify-instances": "ok", locks: "ok", temp: "ok" };
  expect(statuses({})).toEqual(fine);
  const unlimited = { openFilesMax: null, inotifyWatchesMax: null, inotifyInstancesMax: null };
  expect(statuses(unlimited)).toEqual(fine);
  // The watch has its instance already.
  const last = { otherInstances: 128, otherWatches: 0, ownInstances: 1 };
  expect(statuses({ inotify: last })).toEqual(fine);
});

test.each([
  [{ openFilesMax: 1_024 }, "open-files", "LimitNOFILE=1228"],
  [{ inotifyWatchesMax: 999 }, "inotify", "fs.inotify.max_user_watches"],
  [{ inotifyWatchesMax: 50_999 }, "inotify", "fs.inotify.max_user_watches=102000"],
  [{ inotifyInstancesMax: 100 }, "inotify-instances", "fs.inotify.max_user_instances=202"],
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
  if (process.platform !== "linux") return;
  expect(facts.inotifyWatchesMax).toBeGreaterThan(0);
  expect(facts.inotifyInstancesMax).toBeGreaterThan(0);
});
