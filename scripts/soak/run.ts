/**
 * One soak: databases, storage, line, watch and application, from the first commit to the restores.
 *
 * The readings begin with the load; the warm-up is in the curve and not in the judgement. At the end the
 * application stops first. The watch then has time to upload everything, ends by SIGTERM, and the restores
 * must give the bytes of the sources.
 */
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createDatabase } from "../measure/databases.ts";
import { BUCKET, CREDENTIALS, freePort } from "../measure/gateway.ts";
import { Observations } from "../measure/observed/observations.ts";
import { Observer } from "../measure/observed/observer.ts";
import { restoreAll } from "../measure/restores.ts";
import { type Storage, startStorage } from "../measure/storage/storage.ts";
import { assertAlive, type Child, describeLog, readLog, type Workspace } from "../measure/workspace.ts";
import { type SharedDatabase, startApplication, stopApplication } from "./application.ts";
import { planFaults } from "./fault-plan.ts";
import { judgeReadings, type Reading } from "./figures.ts";
import { planLoad } from "./load-plan.ts";
import { replayLine, type Settings } from "./options.ts";
import { takeReading, type Watched } from "./readings.ts";
import type { SoakResult } from "./report.ts";
import { watchConfig } from "./watch-config.ts";

/** The parts of a run that its caller owns. */
export interface Surroundings {
  readonly workspace: Workspace;
  /** The executable. */
  readonly binary: string;
  /** Receives each reading at once. */
  readonly take: (reading: Reading) => Promise<void>;
  readonly report: (text: string) => void;
}

const READING_MS = 3_000;
const START_LIMIT_MS = 120_000;
const DRAIN_LIMIT_MS = 120_000;
const STOP_LIMIT_MS = 120_000;
const POLL_MS = 200;
const LOG_LINES = 4;
const PREFIX = "soak";

/** Runs one soak. @throws Error when a process dies or does not keep up at the end */
export async function runSoak(settings: Settings, surroundings: Surroundings): Promise<SoakResult> {
  const { workspace, binary, report, take } = surroundings;
  const { seed, databaseCount, durationMs, warmUpMs, isObserved } = settings;
  const databases = makeDatabases(workspace.folder, seed, databaseCount);
  const episodes = planFaults(seed, durationMs);
  const storage = await startStorage(workspace, seed, episodes);
  report(`${databaseCount} databases, ${episodes.length} fault episodes before ${storage.name}`);
  const env = environment(workspace.folder);
  const { child, watched, configPath } = await startWatch(workspace, binary, env, databases, storage);
  const observations = isObserved ? new Observations((text) => report(`seed ${seed}: ${text}`)) : null;
  const words = [binary, "status", "--json", "--config", configPath];
  const status = { words, env: workspace.environment(env), folder: workspace.folder };
  const pages = { url: watched.metricsUrl, status };
  const observer = observations === null ? null : Observer.of(child, pages, observations);
  const application = await startApplication(workspace, databases, seed);
  const startMs = performance.now();
  const readings: Reading[] = [];
  const children = [child, ...storage.children, ...application];
  await readFor(children, watched, { startMs, durationMs }, async (reading) => {
    readings.push(reading);
    await take(reading);
  });
  const actions = await stopApplication(workspace, application);
  report("the application has ended; the watch uploads the rest");
  await drain(child, watched);
  await observer?.finish();
  await workspace.stop(child, STOP_LIMIT_MS);
  report(`the watch has ended; restoring ${databaseCount} databases`);
  const destination = ["-b", `s3://${BUCKET}/${PREFIX}`, "--endpoint", storage.nearUrl];
  const restores = await restoreAll(workspace, { binary, env, destination }, databases);
  const context = restores.failures.length === 0 ? [] : [`the watch: ${describeLog(child)}`];
  const lineLeadMs = startMs - storage.lineStartMs;
  return {
    ...{ replay: replayLine(settings), readings, durationMs, warmUpMs, actions },
    episodes: episodes.map((one) => ({
      ...one,
      startMs: one.startMs - lineLeadMs,
      endMs: one.endMs - lineLeadMs,
    })),
    judgements: judgeReadings(readings, warmUpMs),
    observed: observations?.counts ?? null,
    violations: observations?.violations ?? [],
    restores: {
      ...restores,
      failures: [...restores.failures, ...context],
      warnings: restores.warnings.map((text) => `${text}${lastLines(child, text.split(":")[0]!)}`),
    },
  };
}

/** The last lines about a database in the log of the watch, for a warning. */
function lastLines(watch: Child, database: string): string {
  const lines = readLog(watch)
    .split("\n")
    .filter((line) => line.includes(` ${database}: `));
  return lines
    .slice(-LOG_LINES)
    .map((line) => `\n    ${line}`)
    .join("");
}

/** Makes the databases of the plan, as copies of one template for each size. */
function makeDatabases(folder: string, seed: number, count: number): SharedDatabase[] {
  const templates = new Map<number, string>();
  mkdirSync(join(folder, "databases"));
  return planLoad(seed, count).map((plan) => {
    const { name, sizeBytes } = plan;
    const template = templates.get(sizeBytes) ?? join(folder, `template-${sizeBytes}.db`);
    if (!templates.has(sizeBytes)) createDatabase(template, sizeBytes, seed);
    templates.set(sizeBytes, template);
    const path = join(folder, "databases", `${name}.db`);
    copyFileSync(template, path);
    return { ...plan, path };
  });
}

function environment(folder: string): Record<string, string> {
  return {
    AWS_ACCESS_KEY_ID: CREDENTIALS.accessKeyId,
    AWS_SECRET_ACCESS_KEY: CREDENTIALS.secretAccessKey,
    AWS_REGION: CREDENTIALS.region,
    // The socket of the watch lies in the workspace, so it disappears with it.
    RUNTIME_DIRECTORY: join(folder, "run"),
  };
}

/** Starts the watch, and waits until its metrics answer. */
async function startWatch(
  workspace: Workspace,
  binary: string,
  env: Readonly<Record<string, string>>,
  databases: readonly SharedDatabase[],
  storage: Storage,
): Promise<{ child: Child; watched: Watched; configPath: string }> {
  const { folder } = workspace;
  const configPath = join(folder, "walrust.toml");
  const stateFolder = join(folder, "state");
  const databasesFolder = join(folder, "databases");
  const metricsPort = freePort();
  const config = watchConfig(databases, {
    ...{ bucket: `s3://${BUCKET}/${PREFIX}`, endpoint: storage.farUrl, stateFolder, metricsPort },
    pathOf: (name) => join(databasesFolder, `${name}.db`),
  });
  writeFileSync(configPath, config, { mode: 0o600 });
  for (const path of [stateFolder, join(folder, "run")]) mkdirSync(path, { mode: 0o700 });
  const child = workspace.start("watch", { words: [binary, "watch", "--config", configPath], env });
  const metricsUrl = `http://127.0.0.1:${metricsPort}`;
  const watched = { pid: child.pid, metricsUrl, stateFolder, databasesFolder, storage };
  await untilReading(child, "the metrics of the watch", START_LIMIT_MS, watched, () => true);
  return { child, watched, configPath };
}

/** Takes a reading every few seconds. @throws Error as soon as a process has ended */
async function readFor(
  children: readonly Child[],
  watched: Watched,
  { startMs, durationMs }: { readonly startMs: number; readonly durationMs: number },
  take: (reading: Reading) => Promise<void>,
): Promise<void> {
  for (let atMs = 0; atMs < durationMs; atMs = performance.now() - startMs) {
    for (const child of children) assertAlive(child);
    await take(await takeReading(watched, atMs));
    const pauseMs = READING_MS - ((performance.now() - startMs) % READING_MS);
    await Bun.sleep(Math.max(0, Math.min(pauseMs, durationMs - (performance.now() - startMs))));
  }
}

/** Waits until every commit is in the bucket. @throws Error when the watch takes too long */
async function drain(child: Child, watched: Watched): Promise<void> {
  const isDrained = ({ lagSeconds, pendingCount }: Reading): boolean =>
    lagSeconds === 0 && pendingCount === 0;
  await untilReading(child, "the last uploads", DRAIN_LIMIT_MS, watched, isDrained);
}

/** Reads until a reading passes. @throws Error when the watch ends first, or at the time limit */
async function untilReading(
  child: Child,
  label: string,
  limitMs: number,
  watched: Watched,
  passes: (reading: Reading) => boolean,
): Promise<void> {
  const deadlineMs = performance.now() + limitMs;
  while (true) {
    assertAlive(child);
    const reading = await takeReading(watched, 0).catch(() => null);
    if (reading !== null && passes(reading)) return;
    if (performance.now() > deadlineMs) {
      throw new Error(`${label}: not within ${limitMs / 1000} s; ${describeLog(child)}`);
    }
    await Bun.sleep(POLL_MS);
  }
}
