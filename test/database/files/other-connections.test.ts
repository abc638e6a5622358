/**
 * The other connections to a database, and whether they share its wal-index: SQLite's locks, with
 * applications in other processes.
 */
import { afterEach, expect, test } from "bun:test";
import {
  closeSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import {
  closeDescriptor,
  descriptorIdentity,
  openDescriptor,
} from "../../../src/database/files/descriptors.ts";
import { DEAD_MAN_BYTE, SHARED_LENGTH, SHARED_START } from "../../../src/database/files/lock-bytes.ts";
import { lockShared, unlock } from "../../../src/database/files/ofd-lock.ts";
import {
  connectedProcesses,
  findOtherConnections,
  isWalOfStrangers,
  processesWithoutShm,
  settledConnectionsOf,
} from "../../../src/database/files/other-connections.ts";
import { openPin } from "../../../src/database/pin/open-pin.ts";
import { thrownWithoutDescriptors } from "../../support/disks/descriptor-limit.ts";
import { closeAll, env, pinned, start, walDatabase } from "../../support/runs/pinned-database.ts";

afterEach(closeAll);

const NOBODY = { isInUse: false, isWalIndexShared: false, isWalIndexForeign: false };
const SHARED = { isInUse: true, isWalIndexShared: true, isWalIndexForeign: false };
const FOREIGN = { isInUse: true, isWalIndexShared: false, isWalIndexForeign: true };

test("an application that has its database open shares the wal-index, beside a pin and without", async () => {
  const { path, app } = await walDatabase();
  expect(findOtherConnections(path, env)).toEqual(SHARED);
  const pin = pinned(path);
  expect(settledConnectionsOf(pin.databaseFd, pin.shmFd, env)).toEqual(SHARED);
  await app.close();
  expect(settledConnectionsOf(pin.databaseFd, pin.shmFd, env)).toEqual(NOBODY);
  pin.close();
  expect(findOtherConnections(path, env)).toEqual(NOBODY);
});

test("an application whose -shm was deleted does not share it, with or without a new -shm", async () => {
  const { path, app } = await walDatabase();
  rmSync(`${path}-shm`);
  expect(findOtherConnections(path, env)).toEqual(FOREIGN);
  await app.must("INSERT INTO t VALUES (7)");
  const other = await start(path, "SELECT 1 FROM t");
  expect(existsSync(`${path}-shm`)).toBe(true);
  // Both have the database open now, and only the table of locks distinguishes them.
  expect(findOtherConnections(path, env)).toEqual({ ...SHARED, isWalIndexForeign: true });
  await other.close();
  expect(findOtherConnections(path, env)).toEqual(FOREIGN);
  await app.close();
  expect(findOtherConnections(path, env)).toEqual(NOBODY);
});

test("an application that opened another name does not share the wal-index", async () => {
  const { path, app } = await walDatabase();
  await app.close();
  linkSync(path, `${path}.link`);
  const other = await start(`${path}.link`, "INSERT INTO t VALUES (8)");
  expect(findOtherConnections(path, env)).toEqual(FOREIGN);
  expect(findOtherConnections(`${path}.link`, env)).toEqual(SHARED);
  await other.close();
});

test("connectedProcesses names the process of each connection, also to a deleted file", async () => {
  const { path, app } = await walDatabase();
  const fd = openSync(path, "r");
  const database = descriptorIdentity(fd);
  const other = await start(path, "SELECT 1 FROM t");
  expect(connectedProcesses(database).length).toBe(2);
  await other.close();
  for (const suffix of ["", "-wal", "-shm"]) rmSync(path + suffix);
  const [pid] = connectedProcesses(database);
  expect(readFileSync(`/proc/${pid}/cmdline`, "utf8")).toContain(path);
  await app.close();
  expect(connectedProcesses(database)).toEqual([]);
  closeSync(fd);
});

test("an application with exclusive locking needs no wal-index, and does not count", async () => {
  const { path, app } = await walDatabase();
  await app.close();
  const alone = await start(path, "PRAGMA locking_mode = EXCLUSIVE", "INSERT INTO t VALUES (6)");
  expect(existsSync(`${path}-shm`)).toBe(false);
  expect(findOtherConnections(path, env)).toEqual({ ...NOBODY, isInUse: true });
  await alone.close();
});

test("applications that open and close all the time never count as unshared", async () => {
  const { path } = await walDatabase();
  const pin = pinned(path);
  let isOver = false;
  const churn = (async () => {
    while (!isOver) await (await start(path, "INSERT INTO t VALUES (1)")).close();
  })();
  let sightings = 0;
  for (let time = 0; time < 3_000; time++) {
    if (settledConnectionsOf(pin.databaseFd, pin.shmFd, env).isWalIndexForeign) sightings++;
    if (time % 20 === 0) await env.turn();
  }
  isOver = true;
  await churn;
  expect(sightings).toBe(0);
});

test("Pin.open pins beside an application that pauses long between its two locks", async () => {
  const { path, app } = await walDatabase();
  await app.close();
  const fd = openDescriptor(path);
  expect(lockShared(fd, SHARED_START, SHARED_LENGTH)).toBe(true);
  let pauses = 0;
  const sleepSync = (): void => {
    if (++pauses === 5) unlock(fd, SHARED_START, SHARED_LENGTH);
  };
  const { pin, condition } = openPin(path, { ...env, sleepSync });
  expect([pin.isLockless, condition, pauses >= 5]).toEqual([false, null, true]);
  pin.close();
  closeDescriptor(descriptorIdentity(fd), fd);
});

test("an application that makes its -shm anew while it is looked for shares the wal-index", async () => {
  const { path, app } = await walDatabase();
  const aside = `${path}-aside`;
  renameSync(`${path}-shm`, aside);
  // As between the last close of an application, which deletes its -shm, and its next connection.
  for (const leftover of [null, "of the connection before"]) {
    if (leftover !== null) writeFileSync(`${path}-shm`, leftover);
    const sleepSync = (): void => renameSync(aside, `${path}-shm`);
    expect(findOtherConnections(path, { ...env, sleepSync })).toEqual(SHARED);
    renameSync(`${path}-shm`, aside);
  }
  renameSync(aside, `${path}-shm`);
  await app.close();
});

test("Pin.open pins beside a last close that deletes -wal and -shm meanwhile", async () => {
  const { path, app } = await walDatabase();
  copyFileSync(`${path}-shm`, `${path}.shm`);
  await app.close();
  // As the last close has it between the two deletions.
  renameSync(`${path}.shm`, `${path}-shm`);
  const fds = [openDescriptor(path), openDescriptor(`${path}-shm`)] as const;
  const database = descriptorIdentity(fds[0]);
  lockShared(fds[0], SHARED_START, SHARED_LENGTH);
  lockShared(fds[1], DEAD_MAN_BYTE, 1);
  let pauses = 0;
  const sleepSync = (): void => {
    if (++pauses > 1) return;
    rmSync(`${path}-shm`);
    closeDescriptor(database, fds[1]);
    closeDescriptor(database, fds[0]);
  };
  const { pin, condition } = openPin(path, { ...env, sleepSync });
  expect([pin.isLockless, condition, pauses]).toEqual([false, null, 1]);
  pin.close();
});

test("opening a database whose users have another wal-index creates no file and takes no lock", async () => {
  const { path, app } = await walDatabase();
  rmSync(`${path}-shm`);
  const { pin, condition } = openPin(path, env);
  expect([pin.isLockless, condition?.code, existsSync(`${path}-shm`)]).toEqual([true, "not-shared", false]);
  await app.must("INSERT INTO t VALUES (9)", "PRAGMA wal_checkpoint(TRUNCATE)");
  await app.close();
  expect(existsSync(`${path}-wal`)).toBe(false);
  pin.close();
});

test("an -shm that cannot be opened without descriptors is no evidence, and nothing stays open", async () => {
  const { path } = await walDatabase();
  const fd = openSync("/dev/null", "r");
  closeSync(fd);
  // The database takes the last descriptor.
  const thrown = thrownWithoutDescriptors(1, () => findOtherConnections(path, env));
  expect(String(thrown)).toContain(`Cannot open ${path}-shm: EMFILE`);
  const next = openSync("/dev/null", "r");
  closeSync(next);
  expect(next).toBe(fd);
  expect(findOtherConnections(path, env)).toEqual(SHARED);
});

test("an -shm that is a link or a folder is not shared", async () => {
  const { path } = await walDatabase();
  rmSync(`${path}-shm`);
  mkdirSync(`${path}-shm`);
  expect(findOtherConnections(path, env)).toEqual(FOREIGN);
  rmdirSync(`${path}-shm`);
  symlinkSync("/dev/null", `${path}-shm`);
  expect(findOtherConnections(path, env)).toEqual(FOREIGN);
});

test("processesWithoutShm reads the table of locks", async () => {
  const { path } = await walDatabase();
  const { ino, dev } = statSync(path, { bigint: true });
  const database = { device: 0xfe00n, inode: "11" };
  const shm = { device: 0xfe00n, inode: "12" };
  expect([typeof ino, typeof dev]).toEqual(["bigint", "bigint"]);
  const table = [
    "1: POSIX  ADVISORY  READ 71 fe:00:12 128 128",
    "2: POSIX  ADVISORY  READ 71 fe:00:11 1073741826 1073742335",
    "3: POSIX  ADVISORY  READ 72 fe:00:11 1073741826 1073742335",
    "3: -> POSIX  ADVISORY  WRITE 73 fe:00:11 1073741826 1073742335",
    "4: OFDLCK ADVISORY  READ -1 fe:00:11 1073741826 1073742335",
    "5: POSIX  ADVISORY  WRITE 74 fe:01:11 0 EOF",
    "6: POSIX  ADVISORY  READ  75 fe:00:11 0 EOF",
    "6: POSIX  ADVISORY  WRITE 78 fe:00:11 1073741826 1073742335",
    "7: FLOCK  ADVISORY  WRITE 76 fe:00:11 0 EOF",
    `8: POSIX  ADVISORY  READ ${process.pid} fe:00:11 1073741826 1073742335`,
    "9: POSIX  ADVISORY  WRITE 77 fe:00:11 1073742336 1073742336",
    "",
  ].join("\n");
  expect(processesWithoutShm(table, database, shm)).toEqual([72, 75]);
  expect(processesWithoutShm("", database, shm)).toEqual([]);
});

test("a process without the -shm writes the -wal at the path only if it has that one open", async () => {
  const { path, app } = await walDatabase();
  rmSync(`${path}-shm`);
  expect(isWalOfStrangers(path)).toBe(true);
  renameSync(`${path}-wal`, `${path}-aside`);
  expect(isWalOfStrangers(path)).toBe(false);
  writeFileSync(`${path}-wal`, "of somebody else");
  expect(isWalOfStrangers(path)).toBe(false);
  renameSync(`${path}-aside`, `${path}-wal`);
  linkSync(path, `${path}.link`);
  const linked = await start(`${path}.link`, "SELECT * FROM sqlite_schema");
  expect(isWalOfStrangers(path)).toBe(false);
  await linked.close();
  expect(isWalOfStrangers(path)).toBe(true);
  await app.close();
  expect(isWalOfStrangers(path)).toBe(false);
});
