/**
 * Each fault of an S3 store under a running watch, on the wire. While the requests of a database fail, its
 * captures go on, and another database uploads each commit. After the fault all arrives in order, with one
 * history, and the log has reported one failure and its end.
 */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { openStore } from "../../../src/index.ts";
import { readState } from "../../../src/local/state.ts";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { Gate } from "../../support/gate.ts";
import { imageOf } from "../../support/oracles/database-image.ts";
import { newestImage, provenHistory } from "../../support/oracles/history-oracle.ts";
import type { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { newDatabase, targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { type Fault, S3Server } from "../../support/servers/s3-server.ts";

type Answer = Pick<Fault, "when" | "answer">;

/** The faults of a put, by the name of the database that suffers from each. */
const FAULTS: Readonly<Record<string, Answer>> = {
  "error-500": before({ status: 500, code: "InternalError" }),
  "error-503": before({ status: 503, code: "SlowDown" }),
  "error-408": before({ status: 408, code: "RequestTimeout" }),
  "error-409": before({ status: 409, code: "ConditionalRequestConflict" }),
  "error-429": before({ status: 429, code: "TooManyRequests" }),
  denied: before({ status: 403, code: "AccessDenied" }),
  "expired-token": before({ status: 400, code: "ExpiredToken" }),
  redirect: before({ status: 301, code: "PermanentRedirect", headers: { location: "http://127.0.0.1:1/" } }),
  "no-bucket": before({ status: 404, code: "NoSuchBucket" }),
  reset: before("reset"),
  timeout: before("hang"),
  portal: before({ instead: { status: 200, headers: { "content-type": "text/html" }, body: "<html>" } }),
};

/** A store that throttles counts as recovered after half a minute without a failure. */
const THROTTLES: ReadonlySet<string> = new Set(["error-503", "error-429"]);

/** Faults after the put took effect: the object is there, and no answer says so. */
const LOST_ANSWERS: Readonly<Record<string, Answer>> = {
  "lost-reset": { when: "after", answer: "reset" },
  "lost-timeout": { when: "after", answer: "hang" },
  "lost-500": { when: "after", answer: { status: 500, code: "InternalError" } },
};

const env = systemEnv(SILENT_LOG);
let server: S3Server;

beforeEach(async () => {
  server = await S3Server.start();
});

afterEach(() => server.stop());

function before(answer: Fault["answer"]): Answer {
  return { when: "before", answer };
}

function open(endpoint = server.url): ObjectStore {
  const keys = { accessKeyId: "test", secretAccessKey: "testsecret" };
  const retry = { maxRetries: 1, baseDelayMs: 1, maxDelayMs: 1 };
  return openStore({ url: "s3://bucket/p", endpoint, ...keys, retry, stallMs: 300 }, env, {});
}

function capturedTxid(path: string): number {
  const reading = readState(stateFolderOf(path));
  return reading.kind === "state" ? reading.state.txid : 0;
}

interface Watched {
  readonly name: string;
  readonly path: string;
  readonly app: SqliteProcess;
}

async function databases(names: readonly string[]): Promise<Watched[]> {
  return Promise.all(names.map(async (name) => ({ name, ...(await newDatabase()) })));
}

async function watchAll(all: readonly Watched[], store: ObjectStore): Promise<WatchRun> {
  const run = new WatchRun(
    all.map(({ name, path }) => targetOf(path, name)),
    store,
  );
  await run.watching(all.length);
  for (const { name } of all) await run.uploaded(1, name);
  return run;
}

/** Commits, and waits until the watch has captured the commit. */
async function captured(run: WatchRun, { path, app, name }: Watched, txid: number): Promise<void> {
  await app.must(`INSERT INTO t(v) VALUES (${txid})`);
  await run.until(`the capture of ${txid} of ${name}`, () => capturedTxid(path) >= txid);
}

async function expectWhole(all: readonly Watched[]): Promise<void> {
  const store = open();
  for (const { name, path, app } of all) {
    await provenHistory(store, name);
    expect([name, Buffer.compare(await newestImage(store, name), imageOf(path))]).toEqual([name, 0]);
    await app.close();
  }
}

/** Lets the puts of each database fail by its name, and then succeed. */
async function ridesOut(faults: Readonly<Record<string, Answer>>, isReported: boolean): Promise<void> {
  const failing = await databases(Object.keys(faults));
  const [healthy] = await databases(["healthy"]);
  const run = await watchAll([...failing, healthy!], open());
  for (const [name, fault] of Object.entries(faults)) {
    server.inject({ kind: "put", key: new RegExp(`^p/${name}/`), count: Number.POSITIVE_INFINITY, ...fault });
  }
  for (let txid = 2; txid <= 4; txid++) {
    for (const database of failing) await captured(run, database, txid);
    await healthy!.app.must(`INSERT INTO t(v) VALUES (${txid})`);
    await run.uploaded(txid, "healthy");
  }
  if (isReported) {
    const reported = (): string[] => run.all("failed").map(({ database }) => database);
    await run.until("each failure", () => reported().length === failing.length, 10_000);
    expect(reported().sort()).toEqual(Object.keys(faults).sort());
    expect(failing.map(({ name }) => run.uploadedTxid(name))).toEqual(failing.map(() => 1));
  }
  server.clearFaults();
  for (const { name } of failing)
    await run.until(`all of ${name}`, () => run.uploadedTxid(name) >= 4, 20_000);
  if (isReported) {
    const lasting = failing.filter(({ name }) => !THROTTLES.has(name));
    const recovered = (name: string): number => run.all("recovered", name).length;
    await run.until("each recovery", () => lasting.every(({ name }) => recovered(name) === 1));
    expect(run.all("failed").length).toBe(failing.length);
  }
  expect((await run.stop()).stopped).toEqual([]);
  await expectWhole([...failing, healthy!]);
}

describe("watch rides out the puts of a store that", () => {
  const names = Object.keys(FAULTS);
  for (let at = 0; at < names.length; at += 4) {
    const group = names.slice(at, at + 4);
    test(`answers ${group.join(", ")}`, async () => {
      await ridesOut(Object.fromEntries(group.map((name) => [name, FAULTS[name]!])), true);
    }, 60_000);
  }

  test("takes effect although its answer is lost: by a reset, a timeout or a 500", async () => {
    await ridesOut(LOST_ANSWERS, false);
  }, 60_000);
});

describe("watch rides out a store that", () => {
  /** Fails for everything between two calls, while three commits are captured. */
  async function outage(fail: () => unknown, mend: () => unknown, endpoint?: string): Promise<WatchRun> {
    const all = await databases(["app", "other"]);
    const run = await watchAll(all, open(endpoint));
    await fail();
    for (let txid = 2; txid <= 4; txid++) for (const one of all) await captured(run, one, txid);
    await run.until("the failures", () => run.all("failed").length === 2, 10_000);
    await mend();
    for (const { name } of all) await run.until(`all of ${name}`, () => run.uploadedTxid(name) >= 4, 20_000);
    expect((await run.stop()).stopped).toEqual([]);
    expect([run.all("failed").length, run.all("recovered").length]).toEqual([2, 2]);
    await expectWhole(all);
    return run;
  }

  test("knows other keys for a while", async () => {
    const { secretAccessKey } = server.options;
    const fail = (): unknown => (server.options.secretAccessKey = "changed");
    await outage(fail, () => (server.options.secretAccessKey = secretAccessKey));
  }, 60_000);

  test("refuses connections for a while", async () => {
    const gate = await Gate.to(server.url);
    await outage(
      () => gate.shut(),
      () => gate.open(),
      gate.url,
    );
    await gate.shut();
  }, 60_000);

  test("lost its bucket for a while", async () => {
    const { buckets } = server.options;
    const fail = (): unknown => (server.options.buckets = []);
    await outage(fail, () => (server.options.buckets = buckets));
  }, 60_000);

  // Each request after the first is signed with the store's time.
  test.each([3_600_000, -3_600_000])("has a clock that jumps by %d ms: no failure", async (offsetMs) => {
    const all = await databases(["app"]);
    const run = await watchAll(all, open());
    server.options.clockOffsetMs = offsetMs;
    for (let txid = 2; txid <= 3; txid++) {
      await captured(run, all[0]!, txid);
      await run.uploaded(txid);
    }
    // Requests that were under way together are refused together.
    expect([new Set(server.refusals), run.all("failed")]).toEqual([new Set(["RequestTimeTooSkewed"]), []]);
    await run.stop();
    await expectWhole(all);
  });
});
