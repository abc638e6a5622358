/**
 * A failing database delays no other's uploads. Databases share a store and its slots, and some of them fail
 * or hang. The test counts the uploads of the others while the failing ones make no progress.
 */

import { expect, test } from "bun:test";
import type { Env } from "../../../src/env.ts";
import { WalrustError } from "../../../src/errors.ts";
import type { LiveDatabase } from "../../../src/replication/capture/live-database.ts";
import { UploadLanes } from "../../../src/replication/upload/uploader.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { BreakerStore } from "../../../src/storage/guard/breaker-store.ts";
import { CircuitBreaker } from "../../../src/storage/guard/circuit-breaker.ts";
import { RetryingStore } from "../../../src/storage/guard/retrying-store.ts";
import { Semaphore } from "../../../src/storage/guard/semaphore.ts";
import { breakerOf, CAPTURES_ONLY, DEFAULT_CONFIG } from "../../support/config.ts";
import { spooledHistory } from "../../support/histories/spooled-history.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { NO_LIMIT } from "../../support/runs/watch-run.ts";
import { FaultyStore } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const THRESHOLD = 2;

function serverError(): WalrustError {
  return new WalrustError("storage", "the store answered 500 InternalError", { retryable: true });
}

/** Databases over one store whose waits last until a test ends them. */
class Fleet {
  readonly inner = new FaultyStore(new MemoryStore());
  readonly slots: Semaphore;
  readonly shared: RetryingStore;
  readonly env: Env;
  readonly stopper = new AbortController();
  readonly all: { live: LiveDatabase; lanes: UploadLanes; breaker: CircuitBreaker; failures: unknown[] }[] =
    [];
  readonly #waiting: (() => void)[] = [];

  constructor(slotCount: number) {
    this.slots = new Semaphore(slotCount);
    const sleep: Env["sleep"] = (_, signal) =>
      new Promise((resolve) => {
        this.#waiting.push(resolve);
        signal?.addEventListener("abort", () => resolve(), { once: true });
      });
    this.env = recordingEnv({ sleep }).env;
    this.shared = new RetryingStore(this.inner, this.env, DEFAULT_CONFIG.retry, this.slots);
  }

  add(name: string, count: number, snapshotsAt: readonly number[] = []): LiveDatabase {
    const live = { ...spooledHistory(count, snapshotsAt).live, name };
    const breaker = new CircuitBreaker(breakerOf(THRESHOLD, 60_000), this.env, { changed: () => {} });
    const store: ObjectStore = new BreakerStore(this.shared, breaker);
    const context = {
      store,
      env: this.env,
      version: "test",
      emit: () => {},
      puts: NO_LIMIT,
      config: CAPTURES_ONLY,
    };
    const failures: unknown[] = [];
    const lanes = new UploadLanes(context, this.stopper, breaker);
    this.all.push({ live, lanes, breaker, failures });
    return live;
  }

  /** Polls every database, as the watch's loop does again and again. */
  start(): void {
    for (const { live, lanes, failures } of this.all) {
      for (const run of lanes.start(live)) {
        void run.then((outcome) => outcome.kind === "failed" && failures.push(outcome.error));
      }
    }
  }

  /** The number of databases that wait between two attempts. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Ends all current waits. */
  passTime(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  async stop(): Promise<void> {
    this.stopper.abort();
    await Promise.all(this.all.map(({ lanes }) => lanes.done()));
  }
}

test("a database whose every put fails with 500 delays no other", async () => {
  const fleet = new Fleet(1);
  fleet.inner.before = (_, key) => {
    if (key.startsWith("bad")) throw serverError();
  };
  const bad = fleet.add("bad", 3);
  const good = fleet.add("good", 20, [5, 20]);
  await waitUntil(() => {
    fleet.start();
    return good.pending.length === 0;
  });
  expect([bad.pending.length, fleet.waiting]).toEqual([3, 1]);
  await fleet.stop();
});

test("more failing databases than slots delay no other", async () => {
  const fleet = new Fleet(3);
  fleet.inner.before = (_, key) => {
    if (key.startsWith("bad")) throw serverError();
  };
  const bad = Array.from({ length: 12 }, (_, index) => fleet.add(`bad${index}`, 2));
  const good = [fleet.add("good/1", 10), fleet.add("good/2", 10, [10])];
  await waitUntil(() => {
    fleet.start();
    return good.every(({ pending }) => pending.length === 0);
  });
  expect([bad.every(({ pending }) => pending.length === 2), fleet.waiting]).toEqual([true, 12]);
  // To the end of all retries, and again until each circuit is open: two calls with six attempts each.
  const isOpen = (): boolean =>
    fleet.all.slice(0, 12).every(({ breaker }) => breaker.state === "open" && breaker.retryAtMs !== null);
  while (!isOpen()) {
    fleet.start();
    fleet.passTime();
    await fleet.env.turn();
  }
  const bads = fleet.inner.puts.filter((key) => key.startsWith("bad"));
  expect(bads.length).toBe(12 * THRESHOLD * (1 + DEFAULT_CONFIG.retry.maxRetries));
  expect(fleet.all.slice(12).map(({ breaker, failures }) => [breaker.state, failures])).toEqual([
    ["closed", []],
    ["closed", []],
  ]);
  await fleet.stop();
});

test("hanging requests hold two slots a database; after their timeout, others get the slots", async () => {
  const fleet = new Fleet(4);
  const hanging: { key: string; cut: () => void }[] = [];
  fleet.inner.before = (operation, key) => {
    if (!key.startsWith("bad") || operation !== "put") return;
    return new Promise((_, reject) => {
      hanging.push({ key, cut: () => reject(serverError()) });
    });
  };
  // Two lanes each: a snapshot whose links are in the bucket, and two links after it.
  const names = ["bad0", "bad1", "bad2", "bad3"];
  for (const name of names) fleet.add(name, 4, [2]).pending.splice(0, 2);
  const good = fleet.add("good", 5);
  fleet.start();
  await waitUntil(() => hanging.length === 4);
  // Each request timed out once and waits between two attempts, so the next in the queue is the good one.
  for (let cut = 0; cut < 2 * names.length; cut++) {
    await waitUntil(() => hanging.length > cut);
    const held = hanging.slice(cut).map(({ key }) => key.slice(0, 4));
    for (const name of names) expect(held.filter((one) => one === name).length).toBeLessThanOrEqual(2);
    hanging[cut]!.cut();
  }
  await waitUntil(() => good.pending.length === 0);
  expect([hanging.length, fleet.waiting]).toEqual([8, 8]);
  await fleet.stop();
});
