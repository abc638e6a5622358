/** `walrust doctor` on the executable: each finding with what to do, and nothing changed. */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import { assertNoSlip } from "../../support/oracles/run-checks.ts";
import { documentOf, runWalrust, spawnWalrust } from "../../support/processes/binary.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";
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
