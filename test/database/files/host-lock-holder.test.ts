/** The holder of the host lock: a query that sees other processes, stopped ones among them. */
import { afterEach, expect, test } from "bun:test";
import { takeHostLockOrNull } from "../../../src/database/files/host-lock.ts";
import { hostLockHolderOrNull, silentHolderError } from "../../../src/database/files/host-lock-holder.ts";
import { untilTestEnds } from "../../support/processes/binary.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";
import { closeAll, walDatabase } from "../../support/runs/pinned-database.ts";

afterEach(closeAll);

test("hostLockHolderOrNull is null for a free database and for no file, and takes no lock", async () => {
  const { path } = await walDatabase();
  expect([hostLockHolderOrNull(path, []), hostLockHolderOrNull(`${path}.absent`, [])]).toEqual([null, null]);
  const release = takeHostLockOrNull(path)!;
  expect(hostLockHolderOrNull(path, [])).toEqual({ path, pid: null, otherUid: null, isStopped: false });
  release();
  takeHostLockOrNull(path)!();
});

test("hostLockHolderOrNull names a process called walrust, and sees that it is stopped", async () => {
  const { path } = await walDatabase();
  const release = takeHostLockOrNull(path)!;
  const child = untilTestEnds(Bun.spawn(["cat"], { stdin: "pipe" }));
  const users = [{ pid: child.pid, command: "walrust" }];
  expect(hostLockHolderOrNull(path, users)).toEqual({
    ...{ path, pid: child.pid, otherUid: null, isStopped: false },
  });
  child.kill("SIGSTOP");
  await waitUntil(() => hostLockHolderOrNull(path, users)?.isStopped === true);
  child.kill("SIGCONT");
  await waitUntil(() => hostLockHolderOrNull(path, users)?.isStopped === false);
  release();
});

test("silentHolderError says how a stopped process goes on, and where an unseen one is looked for", () => {
  const stopped = silentHolderError({ path: "/srv/app.db", pid: 12, otherUid: null, isStopped: true });
  expect([stopped.code, stopped.hint]).toEqual(["locked", expect.stringContaining("kill -CONT 12")]);
  const unseen = silentHolderError({ path: "/srv/app.db", pid: null, otherUid: null, isStopped: false });
  expect(unseen.message).toStartWith("A walrust has /srv/app.db");
  expect(unseen.hint).toContain("XDG_RUNTIME_DIR");
  const other = silentHolderError({ path: "/srv/app.db", pid: 12, otherUid: 33, isStopped: false });
  expect(other.message).toStartWith("The walrust with pid 12 of user 33 has ");
  expect(other.hint).toContain("as that user");
});
