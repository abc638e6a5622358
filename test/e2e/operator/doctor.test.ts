/** `walrust doctor` on the executable: each finding with what to do, and nothing changed. */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { commitRow, createAppDatabase } from "../../support/histories/app-rows.ts";
import { assertNoSlip } from "../../support/oracles/run-checks.ts";
import { canChangeUser, documentOf, runWalrust, spawnWalrust } from "../../support/processes/binary.ts";
import { SqliteProcess, waitUntil } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { tempFolder } from "../../support/temp.ts";

interface Document {
  readonly status: string;
  readonly exit: number;
  readonly checks: readonly {
    readonly area: string;
    readonly check: string;
    readonly subject: string | null;
    readonly status: string;
    readonly message: string;
    readonly hint: string | null;
    readonly exit: number;
  }[];
}

let server: S3Server;
beforeAll(async () => {
  server = await S3Server.start();
});
afterAll(() => server.stop());

function newApp() {
  const folder = tempFolder("doctor");
  const database = join(folder, "app.db");
  createAppDatabase(database);
  return { folder, database };
}

async function doctor(words: readonly string[], env: Record<string, string> = {}) {
  const run = await runWalrust(["doctor", ...words, "--json"], { env });
  assertNoSlip(run);
  return { run, document: documentOf<Document>(run) };
}

function statusOf({ checks }: Document, check: string): string | undefined {
  return checks.find((one) => one.check === check)?.status;
}

function bucketWords(): string[] {
  return ["-b", "s3://bucket/vm", "--endpoint", server.url];
}

const KEYS = { AWS_ACCESS_KEY_ID: "test", AWS_SECRET_ACCESS_KEY: "testsecret" };

test("doctor of a sound setup warns only that no watch runs yet, and leaves nothing behind", async () => {
  const { folder, database } = newApp();
  const before = [readdirSync(folder), statSync(database, { bigint: true }).mtimeNs];
  const { run, document } = await doctor([database, ...bucketWords()], KEYS);
  expect([run.exitCode, document.exit, run.stderr]).toEqual([0, 0, ""]);
  for (const check of ["reach", "create-only", "multipart", "put", "clock", "range", "list", "delete"])
    expect([check, statusOf(document, check)]).toEqual([check, "ok"]);
  expect(document.checks.find(({ check }) => check === "credentials")).toMatchObject({
    status: "ok",
    message: "the keys come from AWS_ACCESS_KEY_ID",
  });
  for (const check of ["mode", "sqlite-version", "size", "users", "state", "space", "locks"])
    expect([check, statusOf(document, check)]).toEqual([check, "ok"]);
  expect(statusOf(document, "replicated")).toBe("warning");
  expect(document.checks.every(({ status, hint }) => status === "ok" || hint !== null)).toBe(true);
  expect([readdirSync(folder), statSync(database, { bigint: true }).mtimeNs]).toEqual(before);
  expect([server.objects.size, server.uploads.size]).toEqual([0, 0]);
});

test("doctor beside a running watch sees the watch and the application", async () => {
  const { database } = newApp();
  const destination = fileDestination();
  const app = new Database(database);
  app.query("SELECT count(*) FROM row").get();
  const watch = await WatchProcess.start([database, ...destination.words]);
  await watch.waitForUploads(1);
  const { run, document } = await doctor([database, ...destination.words]);
  expect(run.exitCode).toBe(0);
  expect(["replicated", "state"].map((check) => statusOf(document, check))).toEqual(["ok", "ok"]);
  // The machine may run other watches of this user.
  const own = document.checks.find(({ message }) => message.startsWith(`pid ${watch.pid}, `));
  expect(own).toMatchObject({ check: "answer", status: "ok" });
  const users = document.checks.find(({ check }) => check === "users")!.message;
  expect([users.includes(`(pid ${process.pid})`), users.includes(`(pid ${watch.pid})`)]).toEqual([
    true,
    true,
  ]);
  app.close(true);
  expect(await watch.stop()).toBe(0);
});

test("doctor exits with the worst failure, and still makes every other check", async () => {
  const { folder, database } = newApp();
  const absent = join(folder, "absent.db");
  const missing = await doctor([database, absent, ...fileDestination().words]);
  expect(missing.run.exitCode).toBe(3);
  expect(statusOf(missing.document, "mode")).toBe("ok");
  expect(missing.document.checks.find(({ check }) => check === "found")).toMatchObject({
    status: "failure",
    subject: absent,
    exit: 3,
  });
  const refused = await doctor([database, absent, ...bucketWords()], { ...KEYS, AWS_ACCESS_KEY_ID: "other" });
  expect([refused.run.exitCode, refused.document.status, refused.document.exit]).toEqual([4, "failure", 4]);
  const none = await doctor([database]);
  expect([none.run.exitCode, statusOf(none.document, "reach")]).toEqual([2, "failure"]);
});

/** The check of this name that is not ok. */
function findingOf({ checks }: Document, check: string): Document["checks"][number] | undefined {
  return checks.find((one) => one.check === check && one.status !== "ok");
}

/** Everything beside a database, to show that doctor changes nothing. */
function filesOf(folder: string): unknown {
  return readdirSync(folder).map((name) => {
    const { ino, mtimeNs, size } = statSync(join(folder, name), { bigint: true });
    return [name, ino, mtimeNs, size];
  });
}

test.each(["-wal", "-shm"])(
  "doctor says of a deleted %s what watch says, beside it and alone",
  async (suffix) => {
    const { folder, database } = newApp();
    const destination = fileDestination();
    const app = new Database(database);
    commitRow(app, 1, 1);
    const watch = await WatchProcess.start([database, ...destination.words]);
    await watch.waitForUploads(1);
    rmSync(database + suffix);
    commitRow(app, 1, 2);
    await watch.waitFor("the condition", () => watch.eventsOf("condition").length > 0);
    const beside = await doctor([database, ...destination.words]);
    const told = findingOf(beside.document, "replication");
    expect([beside.run.exitCode, told?.status, told?.hint]).toEqual([
      ...[3, "failure"],
      expect.stringContaining("SIGTERM"),
    ]);
    expect(told?.message).toStartWith(`the watch with pid ${watch.pid}: `);
    await watch.kill();
    const before = filesOf(folder);
    const alone = await doctor([database, ...destination.words]);
    const judged = findingOf(alone.document, "replication");
    expect([alone.run.exitCode, judged?.status, judged?.hint]).toEqual([3, "failure", told?.hint]);
    expect(filesOf(folder)).toEqual(before);
    app.close(true);
  },
);

test("doctor refuses the WAL of another database as watch does, and changes neither file", async () => {
  const { folder, database } = newApp();
  const destination = fileDestination();
  const app = await SqliteProcess.open(database);
  await app.must("INSERT INTO counter VALUES (1, 1)");
  await app.kill();
  const other = join(tempFolder("other"), "app.db");
  createAppDatabase(other, 8192);
  copyFileSync(other, database);
  rmSync(`${database}-shm`, { force: true });
  const before = filesOf(folder);
  const { run, document } = await doctor([database, ...destination.words]);
  const found = findingOf(document, "replication");
  expect([run.exitCode, found?.status, found?.hint]).toEqual([
    ...[3, "failure"],
    expect.stringContaining("Do not open the database"),
  ]);
  expect(filesOf(folder)).toEqual(before);
  const watch = await WatchProcess.start([database, ...destination.words]);
  await watch.waitFor("its refusal", () => watch.stderr.includes(found!.message));
  await watch.stop();
});

test("doctor, explain and watch agree on a destination that is gone; doctor sees an empty one", async () => {
  const { database } = newApp();
  const destination = fileDestination();
  const words = [database, ...destination.words];
  const watch = await WatchProcess.start(words);
  await watch.waitForTxid(1);
  expect(await watch.stop()).toBe(0);
  renameSync(destination.folder, `${destination.folder}.away`);
  const gone = await doctor(words);
  expect([gone.run.exitCode, findingOf(gone.document, "reach")?.status]).toEqual([4, "failure"]);
  const explained = await runWalrust(["explain", ...words]);
  expect([explained.exitCode, explained.stdout]).toEqual([4, expect.stringContaining("(cannot be reached)")]);
  expect(explained.stdout).not.toContain("are enforced");
  const again = await WatchProcess.start(words);
  expect([await again.exit(), existsSync(destination.folder)]).toEqual([4, false]);
  // As the mount point of a disk that is not mounted.
  mkdirSync(destination.folder);
  const unmounted = await doctor(words);
  expect([unmounted.run.exitCode, findingOf(unmounted.document, "reach")?.status]).toEqual([4, "failure"]);
  mkdirSync(join(destination.folder, "app"));
  const empty = await doctor(words);
  const lost = findingOf(empty.document, "bucket");
  expect([empty.run.exitCode, lost?.status, lost?.message]).toEqual([
    ...[4, "failure"],
    expect.stringContaining("TXID 1 of app was uploaded, but"),
  ]);
  expect(readdirSync(destination.folder)).toEqual(["app"]);
});

test("doctor refuses a state folder with the words of watch", async () => {
  const { folder, database } = newApp();
  const states = join(folder, "states");
  mkdirSync(states, { mode: 0o700 });
  chmodSync(states, 0o777);
  const words = [database, ...fileDestination().words, "--state-dir", states];
  const { run, document } = await doctor(words);
  const found = findingOf(document, "state-folder");
  expect([run.exitCode, found?.status]).toEqual([3, "failure"]);
  const watch = await WatchProcess.start(words);
  expect(await watch.exit()).toBe(3);
  expect(watch.stderr).toContain(found!.message);
});

/** A user who owns nothing of the test. */
const USER = { uid: 61_012, gid: 61_012, groups: [61_012], umask: 0o022 };

test.skipIf(!canChangeUser)(
  "doctor of a glob refuses what its user may not use, with what to do",
  async () => {
    const folder = tempFolder("glob");
    const destination = fileDestination();
    mkdirSync(destination.folder);
    chmodSync(join(destination.folder, ".."), 0o755);
    chownSync(destination.folder, USER.uid, USER.gid);
    const stateHome = tempFolder("state");
    chownSync(stateHome, USER.uid, USER.gid);
    chmodSync(folder, 0o755);
    const [unreadable, first, hidden] = ["unreadable", "first", "hidden"].map((name) =>
      join(folder, name),
    ) as [...[string, string, string]];
    for (const place of [unreadable, first, hidden]) {
      mkdirSync(place);
      createAppDatabase(join(place, "app.db"));
    }
    chmodSync(join(unreadable, "app.db"), 0o600);
    // This user may write the file, and not create its -wal.
    chmodSync(join(first, "app.db"), 0o666);
    chmodSync(hidden, 0o700);
    const words = [join(folder, "*/app.db"), ...destination.words, "--state-dir", stateHome, "--json"];
    const run = await runWalrust(["doctor", ...words], { user: USER });
    const { checks } = documentOf<Document>(run);
    const failures = checks.filter(({ status }) => status === "failure");
    expect(failures.map(({ subject, check, exit }) => [subject, check, exit]).sort()).toEqual([
      [null, "found", 3],
      [join(first, "app.db"), "replication", 3],
      [join(unreadable, "app.db"), "mode", 3],
    ]);
    expect([run.exitCode, failures.every(({ hint }) => hint !== null)]).toEqual([3, true]);
  },
);

test.skipIf(!canChangeUser)("doctor names the user whose watch has the database", async () => {
  const folder = tempFolder("theirs");
  const database = join(folder, "app.db");
  createAppDatabase(database);
  const destination = fileDestination();
  mkdirSync(destination.folder);
  chmodSync(join(destination.folder, ".."), 0o755);
  for (const path of [folder, database, destination.folder]) chownSync(path, USER.uid, USER.gid);
  chmodSync(folder, 0o755);
  const env = { XDG_STATE_HOME: folder, STATE_DIRECTORY: "", XDG_RUNTIME_DIR: "" };
  const watch = await WatchProcess.start([database, ...destination.words], { user: USER, env });
  await watch.waitForUploads(1);
  const { run, document } = await doctor([database, ...destination.words]);
  const found = findingOf(document, "holder");
  expect([run.exitCode, found?.status, found?.message, found?.hint]).toEqual([
    ...[0, "warning", expect.stringContaining(`pid ${watch.pid} of user ${USER.uid} has `)],
    expect.stringContaining("Run this as that user"),
  ]);
  expect(await watch.stop()).toBe(0);
});

test("doctor of 20 databases prints each problem once, and counts the sound ones", async () => {
  const folder = tempFolder("many");
  const paths = Array.from({ length: 20 }, (_, index) => join(folder, `${index + 10}.db`));
  for (const path of paths) createAppDatabase(path);
  for (const path of paths.slice(0, 2)) {
    const database = new Database(path);
    database.run("PRAGMA journal_mode = DELETE");
    database.close(true);
  }
  const words = ["doctor", ...paths, ...fileDestination().words];
  const run = await runWalrust(words);
  expect(run.exitCode).toBe(3);
  const lines = run.stdout.split("\n");
  expect(lines.filter((line) => line.includes("journal_mode=WAL"))).toHaveLength(1);
  expect(lines).toContain(`2 databases: ${paths[0]}, ${paths[1]}`);
  expect(lines.filter((line) => line.startsWith("Database "))).toEqual([]);
  const whole = await runWalrust([...words, "--all"]);
  expect(whole.stdout.split("\n").filter((line) => line.startsWith("Database "))).toHaveLength(20);
});

test("doctor and status say that a walrust has the database while no socket answers", async () => {
  const { folder, database } = newApp();
  const destination = fileDestination();
  const config = `[s3]\nbucket = "${destination.url}"\n\n[[databases]]\npath = "${database}"\n`;
  writeFileSync(join(folder, "walrust.toml"), config);
  const env = { XDG_RUNTIME_DIR: tempFolder("sockets") };
  const watch = await WatchProcess.start(["--no-metrics"], { cwd: folder, env });
  await watch.waitForUploads(1);
  process.kill(watch.pid, "SIGSTOP");
  // A stopped process makes no new socket.
  rmSync(join(env.XDG_RUNTIME_DIR, "walrust"), { recursive: true });
  const run = await runWalrust(["doctor", "--json"], { cwd: folder, env });
  const found = findingOf(documentOf<Document>(run), "holder");
  expect([run.exitCode, found?.status, found?.message, found?.hint]).toEqual([
    ...[3, "failure"],
    expect.stringContaining(`The walrust with pid ${watch.pid} has `),
    expect.stringContaining(`kill -CONT ${watch.pid}`),
  ]);
  // Nobody can start another watch beside that one.
  expect(findingOf(documentOf<Document>(run), "replicated")).toBeUndefined();
  const status = await runWalrust(["status"], { cwd: folder, env });
  expect([status.exitCode, status.stdout]).toEqual([
    ...[3, expect.stringContaining(`The walrust with pid ${watch.pid} has `)],
  ]);
  process.kill(watch.pid, "SIGCONT");
  expect(await watch.stop()).toBe(0);
});

test("doctor names the bug of the SQLite that last wrote a database", async () => {
  const { database } = newApp();
  const bytes = Buffer.from(await Bun.file(database).bytes());
  bytes.writeUInt32BE(3_046_001, 96);
  writeFileSync(database, bytes);
  const run = await runWalrust(["doctor", database, ...fileDestination().words]);
  expect(run.exitCode).toBe(0);
  expect(run.stdout).toContain("last written by SQLite 3.46.1, which has the WAL-reset bug");
  expect(run.stdout).toContain("→ Use SQLite 3.51.3 or later");
});

test("doctor does not create the folder of a destination", async () => {
  const { database } = newApp();
  const destination = fileDestination();
  const { run, document } = await doctor([database, ...destination.words]);
  expect([run.exitCode, statusOf(document, "reach"), existsSync(destination.folder)]).toEqual([
    ...[0, "warning", false],
  ]);
});

test("a stopped doctor deletes its probe object; a killed one leaves one, which the next names", async () => {
  const { database } = newApp();
  server.reset();
  const options = { env: KEYS };
  const words = ["doctor", database, ...bucketWords()];
  for (const [signal, left] of [
    ["SIGINT", 0],
    ["SIGKILL", 1],
  ] as const) {
    server.reset();
    server.inject({ kind: "get", when: "before", answer: "hang" });
    const child = await spawnWalrust(words, options);
    await waitUntil(() => server.count("get") > 0);
    child.kill(signal);
    await child.exited;
    expect([signal, server.objects.size]).toEqual([signal, left]);
  }
  const [key] = [...server.objects.keys()];
  for (const object of server.objects.values()) Object.assign(object, { modifiedMs: Date.now() - 7_200_000 });
  server.clearFaults();
  const { document } = await doctor([database, ...bucketWords()], KEYS);
  expect(document.checks.find(({ check }) => check === "leftovers")?.message).toContain(
    key!.slice("bucket/vm/".length),
  );
  server.reset();
});
