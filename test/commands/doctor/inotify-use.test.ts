/** The inotify instances and watches of one user, from a folder in the shape of /proc. */
import { expect, test } from "bun:test";
import { chownSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { inotifyUse } from "../../../src/commands/doctor/inotify-use.ts";
import { machineFacts } from "../../../src/commands/doctor/machine-checks.ts";
import { tempFolder } from "../../support/temp.ts";

/** Adds a process with some inotify instances, each with this number of watches, and with another file. */
function addProcess(proc: string, name: string, watchCounts: readonly number[], uid?: number): void {
  const folder = join(proc, name);
  for (const part of ["fd", "fdinfo"]) mkdirSync(join(folder, part), { recursive: true });
  symlinkSync("/dev/null", join(folder, "fd", "0"));
  for (const [index, count] of watchCounts.entries()) {
    symlinkSync("anon_inode:inotify", join(folder, "fd", `${index + 1}`));
    const lines = Array.from(
      { length: count },
      (_, wd) => `inotify wd:${wd} ino:9e7e sdev:800013 mask:800afce`,
    );
    writeFileSync(join(folder, "fdinfo", `${index + 1}`), ["pos:\t0", "flags:\t00", ...lines, ""].join("\n"));
  }
  if (uid !== undefined) chownSync(folder, uid, uid);
}

function newProc(): string {
  const proc = tempFolder("proc");
  addProcess(proc, "self", []);
  addProcess(proc, "10", [3, 4]);
  addProcess(proc, "11", [5]);
  // A folder of /proc that is no process.
  addProcess(proc, "tty", [100]);
  return proc;
}

test("inotifyUse counts the instances and watches of all processes but the running watch", () => {
  const proc = newProc();
  expect(inotifyUse(null, proc)).toEqual({ otherInstances: 3, otherWatches: 12, ownInstances: 0 });
  expect(inotifyUse(10, proc)).toEqual({ otherInstances: 1, otherWatches: 5, ownInstances: 2 });
  expect(inotifyUse(99, proc)).toEqual({ otherInstances: 0, otherWatches: 0, ownInstances: 0 });
});

test.skipIf(process.getuid?.() !== 0)("inotifyUse leaves out the processes of other users", () => {
  const proc = newProc();
  addProcess(proc, "12", [7], 4_711);
  addProcess(proc, "13", [8], 4_711);
  expect(inotifyUse(null, proc)).toEqual({ otherInstances: 3, otherWatches: 12, ownInstances: 0 });
  expect(inotifyUse(12, proc)).toEqual({ otherInstances: 1, otherWatches: 8, ownInstances: 1 });
});

test("machineFacts reads the limits and the use of a machine", () => {
  const proc = newProc();
  const limits = join(proc, "sys/fs/inotify");
  mkdirSync(limits, { recursive: true });
  writeFileSync(join(limits, "max_user_watches"), "8192\n");
  writeFileSync(join(limits, "max_user_instances"), "128\n");
  expect(machineFacts(1, 1, 11, proc)).toMatchObject({
    inotifyWatchesMax: 8192,
    inotifyInstancesMax: 128,
    inotify: { otherInstances: 2, otherWatches: 7, ownInstances: 1 },
  });
});
