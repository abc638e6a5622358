/**
 * Circuit breakers in a running watch: databases over one store, one of them failing. The failing database
 * suspends only its own requests, logs the suspension once, and recovers without a restart.
 */
import { expect, test } from "bun:test";
import { WalrustError } from "../../../src/errors.ts";
import { RetryingStore } from "../../../src/storage/guard/retrying-store.ts";
import { Semaphore } from "../../../src/storage/guard/semaphore.ts";
import { breakerOf } from "../../support/config.ts";
import { restoredImage } from "../../support/oracles/restored-image.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { newDatabase, targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { FaultyStore } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { ShiftedClock } from "../../support/shifted-clock.ts";

const COOLDOWN_MS = 60_000;
const RETRY = { maxRetries: 1, baseDelayMs: 1, maxDelayMs: 1 };

/** Two watched databases, "good" and "bad", over a store with one slot; both have their first snapshot. */
async function watchTwo() {
  const clock = new ShiftedClock();
  const inner = new FaultyStore(new MemoryStore());
  const store = new RetryingStore(inner, recordingEnv(clock.overrides).env, RETRY, new Semaphore(1));
  const [good, bad] = [await newDatabase(), await newDatabase()];
  const targets = [targetOf(good.path, "good"), targetOf(bad.path, "bad")];
  const run = new WatchRun(targets, store, { retry: breakerOf(3, COOLDOWN_MS) }, clock.overrides);
  await run.watching(2);
  await run.uploaded(1, "good");
  await run.uploaded(1, "bad");
  return { clock, inner, run, good, bad };
}

function serverError(): WalrustError {
  return new WalrustError("storage", "the store answered 500 InternalError", { retryable: true });
}

test("a database whose every key fails suspends its own requests, and the other continues", async () => {
  const { clock, inner, run, good, bad } = await watchTwo();
  let isOut = true;
  inner.before = (_, key) => {
    if (isOut && key.startsWith("bad")) throw serverError();
  };
  await bad.app.must("INSERT INTO t(v) VALUES ('waits')");
  await run.until("an open circuit", () => run.all("circuit-open").length > 0, 8_000);
  expect([run.status("bad").circuit, run.status("good").circuit]).toEqual(["open", "closed"]);
  const requests = inner.calls.filter((call) => call.includes("bad")).length;
  for (let txid = 2; txid <= 6; txid++) {
    await good.app.must(`INSERT INTO t(v) VALUES (${txid})`);
    await run.uploaded(txid, "good");
  }
  expect(inner.calls.filter((call) => call.includes("bad")).length).toBe(requests);
  // Failing trials, each with a single attempt.
  for (let trial = 1; trial <= 3; trial++) {
    clock.pass(COOLDOWN_MS);
    const isTried = (): boolean =>
      inner.calls.filter((call) => call.includes("bad")).length >= requests + trial;
    await run.until("a trial", isTried);
    await run.until("the circuit to open again", () => run.status("bad").circuit === "open");
  }
  expect(inner.calls.filter((call) => call.includes("bad")).length).toBe(requests + 3);
  expect(run.all("circuit-open").map(({ database, failures }) => [database, failures])).toEqual([["bad", 3]]);
  isOut = false;
  clock.pass(COOLDOWN_MS);
  await run.uploaded(2, "bad");
  await run.until("the recovery", () => run.all("recovered", "bad").length > 0);
  expect(run.status("bad").circuit).toBe("closed");
  expect(run.all("failed").map(({ database }) => database)).toEqual(["bad"]);
  expect((await run.stop()).undrained).toEqual([]);
  expect((await restoredImage(inner.inner, "bad", 2)).length).toBeGreaterThan(0);
  await Promise.all([good.app.close(), bad.app.close()]);
}, 20_000);

test("a long outage of everything logs a few lines a database, however often it is tried", async () => {
  const { clock, inner, run, good, bad } = await watchTwo();
  inner.before = () => {
    throw serverError();
  };
  const before = run.lines.length;
  const said = (): string[] =>
    run.lines
      .slice(before)
      .filter(({ level }) => level === "warn" || level === "error")
      .map(({ message }) => message);
  for (const { app } of [good, bad]) await app.must("INSERT INTO t(v) VALUES ('waits')");
  await run.until("open circuits", () => run.all("circuit-open").length === 2, 8_000);
  for (let minute = 1; minute <= 20; minute++) {
    const puts = inner.puts.length;
    clock.pass(COOLDOWN_MS);
    await run.until("two trials", () => inner.puts.length >= puts + 2);
    await run.until("them to end", () =>
      ["good", "bad"].every((name) => run.status(name).circuit === "open"),
    );
    for (const { app } of [good, bad]) await app.must(`INSERT INTO t(v) VALUES (${minute})`);
  }
  expect(said().length).toBe(4);
  const suspended = /suspended until \S+ \(next try in 60 s\) after/;
  expect(said().filter((message) => suspended.test(message)).length).toBe(2);
  inner.before = () => {};
  // The end of the watch does not wait for the cooldown.
  expect((await run.stop()).undrained).toEqual([]);
  expect(run.all("recovered").length).toBe(2);
  await Promise.all([good.app.close(), bad.app.close()]);
}, 20_000);
