/** The words about a watch that does not answer, by the state of its process. */

import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isProcessStopped, processStateOrNull } from "../../../src/database/files/file-users.ts";
import { silentError } from "../../../src/replication/control/silent-watch.ts";
import { tempFolder } from "../../support/temp.ts";

/** A folder like /proc in which process 77 has this state. */
function procWith(state: string, name = "walrust"): string {
  const folder = tempFolder("proc");
  mkdirSync(join(folder, "77"));
  writeFileSync(join(folder, "77", "stat"), `77 (${name}) ${state} 1 77 77 0 -1 4194560 0 0\n`);
  return folder;
}

test("processStateOrNull reads the letter behind a name with any characters, and null for no process", () => {
  expect(processStateOrNull(77, procWith("T", "a) R (b"))).toBe("T");
  expect(processStateOrNull(78, procWith("T"))).toBeNull();
  expect(processStateOrNull(process.pid)).toMatch(/^[RS]$/);
});

test.each([
  ["T", true, "the process is stopped (SIGSTOP) and captures nothing", "kill -CONT 77"],
  ["t", true, "the process is stopped (SIGSTOP) and captures nothing", "kill -CONT 77"],
  ["S", false, "the process exists (it is waiting) and has sent nothing for 4 s", "kill -KILL 77"],
  ["R", false, "the process exists (it is computing) and has sent nothing for 4 s", "kill -KILL 77"],
  ["I", false, "it has sent nothing for 4 s", "kill -KILL 77"],
])("silentError of a watch in state %s", (state, isStopped, found, remedy) => {
  const folder = procWith(state);
  expect(isProcessStopped(77, folder)).toBe(isStopped);
  const error = silentError(77, 4_000, folder);
  expect([error.code, error.message]).toEqual(["locked", `The watch with pid 77 does not answer: ${found}`]);
  expect(error.hint).toContain(remedy);
});
