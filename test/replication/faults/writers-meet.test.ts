/**
 * Two watches that write one prefix at the same moment, on a store that enforces create-only writes, on one
 * that ignores the condition and on one that refuses it. At least one of them stops. The bucket is restorable
 * afterwards, to a state that one of the databases had; the one that continues has lost nothing.
 */
import { afterEach, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { openStore } from "../../../src/index.ts";
import { readState } from "../../../src/local/state.ts";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { cloneFolderOf, copyFolderOf } from "../../support/histories/copied-folder.ts";
import { imageOf } from "../../support/oracles/database-image.ts";
import { newestImage, provenHistory } from "../../support/oracles/history-oracle.ts";
import { restoredImage } from "../../support/oracles/restored-image.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { newDatabase, targetOf, WatchRun, watchOne } from "../../support/runs/watch-run.ts";
import { S3Server, type S3ServerOptions } from "../../support/servers/s3-server.ts";

const MODES: readonly S3ServerOptions["conditionalPut"][] = ["yes", "ignored", "refused"];
const ROUNDS = 6;

let server: S3Server | null = null;

afterEach(() => server?.stop());

/** A store of its own over the server: what one process learns of it, another does not know. */
function open(): ObjectStore {
  const keys = { accessKeyId: "test", secretAccessKey: "testsecret" };
  const retry = { maxRetries: 1, baseDelayMs: 1, maxDelayMs: 1 };
  return openStore(
    { url: "s3://bucket/p", endpoint: server!.url, ...keys, retry },
    systemEnv(SILENT_LOG),
    {},
  );
}

/** One host: a database, its application and its watch. */
class Host {
  /** The bytes of the database after each commit. */
  readonly images: Buffer[] = [];

  constructor(
    readonly path: string,
    readonly app: SqliteProcess,
    readonly run: WatchRun,
  ) {
    this.images.push(imageOf(path));
  }

  static async begin(path: string): Promise<Host> {
    return new Host(path, await SqliteProcess.open(path), new WatchRun([targetOf(path)], open()));
  }

  get isStopped(): boolean {
    return this.run.isDone || this.run.all("stopped").length > 0;
  }

  get #capturedTxid(): number {
    const reading = readState(stateFolderOf(this.path));
    return reading.kind === "state" ? reading.state.txid : 0;
  }

  /** Commits, and waits until the watch has captured and uploaded the commit, or has stopped. */
  async commit(value: string): Promise<void> {
    await this.run.until("the begin", () => this.isStopped || this.run.all("watching").length > 0, 10_000);
    const before = this.#capturedTxid;
    await this.app.must(`INSERT INTO t(v) VALUES ('${value}')`);
    this.images.push(imageOf(this.path));
    const isSettled = (): boolean =>
      this.isStopped || (this.#capturedTxid > before && this.run.status().pendingCount === 0);
    await this.run.until(`${value} to settle`, isSettled, 10_000);
  }
}

/** Lets both hosts commit in turns until one stops, and judges the bucket. */
async function meet(mode: S3ServerOptions["conditionalPut"], one: Host, two: Host): Promise<void> {
  for (let round = 0; round < ROUNDS && !one.isStopped && !two.isStopped; round++) {
    await Promise.all([one.commit(`one ${round}`), two.commit(`two ${round}`)]);
  }
  expect([one.isStopped, two.isStopped]).toContain(true);
  const survivor = [one, two].find((host) => !host.isStopped) ?? null;
  await survivor?.commit("alone");
  for (const { run, app } of [one, two]) {
    const { stopped } = await run.stop();
    for (const { error } of stopped) expect([error.code, error.exitCode]).toEqual(["foreign-writer", 4]);
    await app.close();
  }
  const restored = await restoredImage(open(), "app");
  const known = survivor === null ? [...one.images, ...two.images] : [imageOf(survivor.path)];
  expect(known.some((image) => image.equals(restored))).toBe(true);
  if (mode === "yes") await provenHistory(open(), "app");
}

/** A database with TXIDs 1 and 2 in the bucket, neither watched nor open. */
async function watchedOnce(): Promise<string> {
  const { path, app } = await newDatabase();
  const run = await watchOne(path, open());
  await run.commit(app, "INSERT INTO t(v) VALUES ('second')");
  await run.stop();
  await app.close();
  return path;
}

describe.each(MODES)("on a store whose create-only writes are %p", (mode) => {
  test("two databases begin in one empty prefix at the same moment", async () => {
    server = await S3Server.start({ conditionalPut: mode });
    const paths = await Promise.all(
      [0, 1].map(async () => {
        const { path, app } = await newDatabase();
        await app.close();
        return path;
      }),
    );
    const hosts = await Promise.all(paths.map((path) => Host.begin(path)));
    await meet(mode, hosts[0]!, hosts[1]!);
  }, 40_000);

  test("a machine and its clone, with one writer id, continue at the same moment", async () => {
    server = await S3Server.start({ conditionalPut: mode });
    const path = await watchedOnce();
    const clone = cloneFolderOf(path);
    const hosts = await Promise.all([path, clone].map((one) => Host.begin(one)));
    await meet(mode, hosts[0]!, hosts[1]!);
  }, 40_000);

  test("a new host without state takes the prefix of a live one over", async () => {
    server = await S3Server.start({ conditionalPut: mode });
    const path = await watchedOnce();
    const taker = copyFolderOf(path);
    rmSync(stateFolderOf(taker).folder, { recursive: true });
    const live = await Host.begin(path);
    await live.run.watching();
    await meet(mode, live, await Host.begin(taker));
  }, 40_000);

  test("one watch after the other, with a crash after an upload: never another writer", async () => {
    server = await S3Server.start({ conditionalPut: mode });
    const path = await watchedOnce();
    const before = copyFolderOf(path);
    const host = await Host.begin(path);
    await host.commit("uploaded, and not recorded");
    await host.run.stop();
    // The state of before the upload, as a power cut leaves it.
    const { statePath, sumsPath } = stateFolderOf(path);
    const old = stateFolderOf(before);
    await Bun.write(statePath, Bun.file(old.statePath));
    await Bun.write(sumsPath, Bun.file(old.sumsPath));
    const again = new Host(path, host.app, new WatchRun([targetOf(path)], open()));
    await again.run.watching();
    await again.commit("after the crash");
    expect([await again.run.stop(), again.run.all("stopped")]).toMatchObject([{ stopped: [] }, []]);
    expect((await newestImage(open(), "app")) as Buffer).toEqual(new Uint8Array(imageOf(path)) as Buffer);
    await host.app.close();
  }, 40_000);
});
