/**
 * The observer of a process, before a real status server in this process: all pages are asked for and judged,
 * a broken rule is found, and the end of the process is none.
 */
import { afterEach, expect, test } from "bun:test";
import {
  addObservations,
  formatObservations,
  Observations,
} from "../../../../scripts/measure/observed/observations.ts";
import { type ObservedProcess, Observer, PACE } from "../../../../scripts/measure/observed/observer.ts";
import { startObservability } from "../../../../src/observability/observer.ts";
import type { DatabaseStatus } from "../../../../src/replication/watch/watch-status.ts";
import { ManualTime } from "../../../observability/manual-time.ts";
import { statusOf } from "../../../observability/samples.ts";
import { DEFAULT_CONFIG } from "../../../support/config.ts";
import { eventually } from "../../../support/eventually.ts";
import { tempFolder } from "../../../support/temp.ts";

const FAST = { ...PACE, openMs: 5, metricsMs: 10, healthMs: 10, statusMs: 10 };
const ends: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

/** A status server whose statuses a test changes. */
function serve(): { url: string; state: { statuses: DatabaseStatus[] }; close: () => Promise<void> } {
  const state = { statuses: [statusOf()] };
  const config = { ...DEFAULT_CONFIG, metrics: { ...DEFAULT_CONFIG.metrics, port: 0, enabled: true } };
  const source = { statuses: () => state.statuses, storeConditions: () => [], writerOf: () => null };
  const server = startObservability(config, source, new ManualTime().env, "0.4.0");
  ends.push(() => server.close());
  return { url: server.metricsUrl!, state, close: () => server.close() };
}

/** An observer of this server, and its record. */
function observe(
  process: Partial<ObservedProcess>,
  pace = FAST,
): { record: Observations; reported: string[]; observer: Observer } {
  const reported: string[] = [];
  const record = new Observations((text) => reported.push(text));
  const whole = { pid: 1, url: "http://127.0.0.1:1", isAlive: () => true, status: null, ...process };
  const observer = new Observer({ exited: new Promise(() => {}), ...whole }, record, pace);
  ends.push(() => observer.end());
  return { record, reported, observer };
}

/** The command that prints a document as `walrust status --json` does. */
function statusCommand(document: object, exitCode = 0): ObservedProcess["status"] {
  const code = `console.log(${JSON.stringify(JSON.stringify(document))}); process.exit(${exitCode})`;
  return { words: [process.execPath, "-e", code], env: {}, folder: tempFolder("observer") };
}

const STATUS = { status: "healthy", not_watched: [] };
const WATCH = { pid: 1, status: "healthy", reasons: [], problem: null, databases: [] };

test("asks for every page and for the status, again and again, and once more at the end", async () => {
  const { url } = serve();
  const { record, observer } = observe({ url, status: statusCommand({ ...STATUS, watches: [WATCH] }) });
  const isSeen = async (): Promise<boolean> => {
    const { metrics, health, status } = record.counts.answers;
    return metrics > 2 && health > 2 && status > 0;
  };
  await eventually("three rounds", isSeen);
  const { dashboard } = record.counts.answers;
  await observer.finish();
  expect(record.counts.answers.dashboard).toBe(dashboard + 1);
  expect(record.violations).toEqual([]);
  expect(record.counts).toMatchObject({ processes: 1, unanswered: 0 });
});

test("finds a TXID that falls, and reports it at once", async () => {
  const { url, state } = serve();
  const { record, reported } = observe({ url });
  await eventually("an answer", async () => record.counts.answers.metrics > 0);
  state.statuses = [statusOf({ txid: 3, uploadedTxid: 3 })];
  await eventually("a violation", async () => !record.isSound);
  expect(reported[0]).toMatch(/^OBSERVED: \w+: app: TXID 3 is captured after 12$/);
  expect(record.violations[0]).toBe(reported[0]!);
});

test("finds a page that fails", async () => {
  const { url, state } = serve();
  const { record } = observe({ url });
  await eventually("an answer", async () => record.counts.answers.metrics > 0);
  state.statuses = null as never;
  await eventually("a violation", async () => !record.isSound);
  expect(record.violations[0]).toMatch(/^OBSERVED: \w+: (\w+: )?answered 500: "internal error/);
});

test("a status with a wrong exit code breaks a rule; without this watch it is no answer", async () => {
  const { url } = serve();
  const wrong = observe({ url, status: statusCommand({ ...STATUS, watches: [WATCH] }, 3) });
  await eventually("a violation", async () => !wrong.record.isSound);
  expect(wrong.record.violations[0]).toBe("OBSERVED: status: healthy with the exit code 3");
  const others = { ...STATUS, watches: [{ ...WATCH, pid: 2 }] };
  const absent = observe({ url, status: statusCommand(others) });
  await eventually("a missing answer", async () => absent.record.counts.unanswered > 0);
  expect(absent.record.counts.answers.status).toBe(0);
});

test("a process that runs and is silent breaks a rule", async () => {
  const { url, close } = serve();
  const { record } = observe({ url }, { ...FAST, silenceMs: 60 });
  await eventually("an answer", async () => record.counts.answers.metrics > 0);
  await close();
  await eventually("a violation", async () => !record.isSound);
  expect(record.violations[0]).toMatch(/^OBSERVED: process 1 runs, and has not answered for \d+ ms$/);
});

test("a process that never answers breaks a rule", async () => {
  const { record } = observe({}, { ...FAST, silenceMs: 20 });
  await eventually("a violation", async () => !record.isSound);
  expect(record.counts.processes).toBe(0);
});

test("the end of the process ends the observer, and is no violation", async () => {
  const { url, close } = serve();
  const exited = Promise.withResolvers<void>();
  let isAlive = true;
  const life = { url, isAlive: () => isAlive, exited: exited.promise };
  const { record, observer } = observe(life, { ...FAST, silenceMs: 0 });
  await eventually("an answer", async () => record.counts.answers.metrics > 0);
  isAlive = false;
  await close();
  exited.resolve();
  await observer.finish();
  expect(record.violations).toEqual([]);
});

test("the counts of several runs have a sum, in words", () => {
  const counts = {
    ...{ processes: 2, answers: { dashboard: 5, metrics: 4, health: 3, status: 1 }, unanswered: 1 },
  };
  expect(formatObservations(addObservations([counts, counts]))).toBe(
    "Judged answers of 4 processes: dashboard 10, metrics 8, health 6, status 2; without an answer 2.",
  );
});
