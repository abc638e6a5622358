/**
 * `bun scripts/measure/capture-gap.ts`: measures how long the captures of a small database pause while the
 * same watch works on a huge one. Needs Linux and versitygw (`bun run peers`).
 *
 *   --size N        size of the huge database in MB [4000]
 *   --increment N   size of each of its ten transactions in MB [50]
 *   --binary PATH   run this walrust instead of a fresh build
 *
 * An application commits 50 times a second to the small database, and the watch captures as often. Four
 * spans are measured:
 *
 * 1. none: the small database is alone;
 * 2. the first snapshot: from the moment when the huge database appears until its snapshot is uploaded;
 * 3. ten transactions of the huge database, of which each is captured in one step;
 * 4. the merges of these increments into level 1.
 *
 * The gap is the longest time between two captures of the small database that the store acknowledged. A
 * capture that was merged with a later one does not count, so the figure is an upper bound. Prints a Markdown
 * table.
 */
import { Database } from "bun:sqlite";
import { mkdirSync, renameSync, statSync } from "node:fs";
import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { startWriter, stopWriter } from "../bench/processes/writer.ts";
import { ensureBinary, fail } from "../toolchain.ts";
import { createDatabase } from "./databases.ts";
import { BUCKET, CREDENTIALS, startGateway } from "./gateway.ts";
import { parseWhole } from "./options.ts";
import { type Child, readLog, Workspace, waitBeside } from "./workspace.ts";

const COMMITS_PER_SECOND = 50;
const REST_MS = 20_000;
/** Time between two transactions of the huge database: each is captured before the next one. */
const PAUSE_MS = 1_000;
const TRANSACTION_COUNT = 10;
/** The lines of the watch are read seldom: reading them takes time from what is measured. */
const POLL_MS = 500;
const WORK_LIMIT_MS = 900_000;
const PAGE_BYTES = 4_096;

/** A line of the watch about one database. */
interface Line {
  readonly event: string;
  readonly database: string;
  /** Time of the event, and of the capture. */
  readonly at: string;
  readonly time?: string;
  readonly kind?: string;
  readonly level?: number;
  readonly sources?: number;
  readonly bytes?: number;
  readonly duration_ms?: number;
}

/** A time in which the watch works on the huge database, in ms of the wall clock. */
interface Span {
  readonly label: string;
  readonly fromMs: number;
  readonly untilMs: number;
}

function linesOf(watch: Child): Line[] {
  const lines = readLog(watch).split("\n").slice(0, -1);
  return lines.filter((line) => line.startsWith('{"')).map((line) => JSON.parse(line) as Line);
}

/**
 * Waits for a line of the watch.
 * @throws Error when one of these processes ends first, or at the time limit
 */
async function findLine(
  children: readonly Child[],
  watch: Child,
  label: string,
  find: (lines: readonly Line[]) => Line | undefined,
): Promise<Line> {
  const deadlineMs = performance.now() + WORK_LIMIT_MS;
  for (;;) {
    const line = find(linesOf(watch));
    if (line !== undefined) return line;
    if (performance.now() > deadlineMs) throw new Error(`${label}: not within ${WORK_LIMIT_MS / 1000} s`);
    await waitBeside(children, POLL_MS);
  }
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}

/** The captures of the small database, in ms of the wall clock. */
function capturesOf(lines: readonly Line[]): number[] {
  const uploads = lines.filter(({ event, database }) => event === "uploaded" && database === "small");
  return uploads.map(({ time }) => Date.parse(time ?? "")).sort((a, b) => a - b);
}

/** The longest time between two captures that has a part in the span. */
function gapMs(captures: readonly number[], { fromMs, untilMs }: Span): number {
  let longest = 0;
  for (const [index, capture] of captures.entries()) {
    const before = captures[index - 1] ?? capture;
    if (capture >= fromMs && before <= untilMs) longest = Math.max(longest, capture - before);
  }
  return longest;
}

/** Changes as many pages of the huge database as `bytes` hold, in one transaction. */
function change(huge: Database, firstId: number, bytes: number): number {
  const { count } = huge.query<{ count: number }, []>("SELECT max(id) AS count FROM item").get()!;
  const { pages } = huge
    .query<{ pages: number }, []>("SELECT page_count AS pages FROM pragma_page_count")
    .get()!;
  const rows = Math.ceil((count / pages) * (bytes / PAGE_BYTES));
  const from = firstId + rows > count ? 1 : firstId;
  huge.run("UPDATE item SET data = randomblob(length(data)) WHERE id >= ? AND id < ?", [from, from + rows]);
  return from + rows;
}

/** Starts a watch of a folder that captures as often as the application commits. */
function startWatch(workspace: Workspace, walrust: string, data: string, port: number): Child {
  const { accessKeyId, secretAccessKey, region } = CREDENTIALS;
  return workspace.start("watch", {
    words: [
      ...[walrust, "watch", join(data, "*.db"), "-b", `s3://${BUCKET}/gap`, "--json", "--no-metrics"],
      ...["--endpoint", `http://127.0.0.1:${port}`, "--wal-sync-interval", "0.01"],
    ],
    env: {
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
      AWS_REGION: region,
    },
  });
}

async function measure(
  workspace: Workspace,
  folder: string,
  binary: string,
  sizes: { readonly hugeBytes: number; readonly transactionBytes: number },
): Promise<void> {
  const walrust = join(folder, "walrust");
  await copyFile(binary, walrust);
  const data = join(folder, "data");
  mkdirSync(data);
  const [small, huge] = [join(data, "small.db"), join(data, "huge.db")];
  createDatabase(small, 100e3, 1);
  createDatabase(`${huge}.template`, sizes.hugeBytes, 2);
  const gateway = await startGateway(workspace, folder, null);
  const watch = startWatch(workspace, walrust, data, gateway.port);
  const application = { databases: [small], commitsPerSecond: COMMITS_PER_SECOND, seed: 3 };
  const writer = await startWriter(workspace, folder, application);
  const children = [gateway.child, watch, ...writer.children];
  const found = (label: string, find: (lines: readonly Line[]) => Line | undefined): Promise<Line> =>
    findLine(children, watch, label, find);
  await found("the first capture", (lines) => lines.find(({ database }) => database === "small"));
  await waitBeside(children, REST_MS);
  const spans: Span[] = [{ label: "none", fromMs: Date.now() - REST_MS / 2, untilMs: Date.now() }];

  const appearedMs = Date.now();
  renameSync(`${huge}.template`, huge);
  const isHuge = ({ database }: Line): boolean => database === "huge";
  const snapshot = await found("the first snapshot", (lines) =>
    lines.find((one) => isHuge(one) && one.event === "uploaded"),
  );
  const hugeText = `the first snapshot of ${megabytes(statSync(huge).size)}`;
  spans.push({ label: hugeText, fromMs: appearedMs, untilMs: Date.parse(snapshot.at) });

  const owner = new Database(huge, { readwrite: true, create: false });
  owner.run("PRAGMA synchronous = NORMAL");
  const changedMs = Date.now();
  for (let count = 0, id = 1; count < TRANSACTION_COUNT; count++) {
    id = change(owner, id, sizes.transactionBytes);
    await waitBeside(children, PAUSE_MS);
  }
  owner.close();
  const changes = `${TRANSACTION_COUNT} transactions of ${megabytes(sizes.transactionBytes)}`;
  spans.push({ label: changes, fromMs: changedMs, untilMs: Date.now() });
  const isMerge = (one: Line): boolean => isHuge(one) && one.event === "compacted" && one.level === 1;
  await found("the merges", (lines) => {
    const merges = lines.filter(isMerge);
    const sources = merges.reduce((sum, one) => sum + (one.sources ?? 0), 0);
    return sources >= TRANSACTION_COUNT ? merges.at(-1) : undefined;
  });
  await waitBeside(children, PAUSE_MS);
  const lines = linesOf(watch);
  // A watch that captures nothing any more has a gap until now.
  const measuredMs = Date.now();
  for (const { at, bytes = 0, sources, duration_ms = 0 } of lines.filter(isMerge)) {
    const untilMs = Date.parse(at);
    const label = `a merge of ${sources} increments into ${megabytes(bytes)}`;
    spans.push({ label, fromMs: untilMs - duration_ms, untilMs });
  }
  await stopWriter(workspace, writer);
  await workspace.stop(watch, WORK_LIMIT_MS);
  const captures = [...capturesOf(lines), measuredMs];
  console.log("| work | length | longest gap |\n| --- | ---: | ---: |");
  for (const span of spans) {
    const seconds = ((span.untilMs - span.fromMs) / 1000).toFixed(1);
    console.log(`| ${span.label} | ${seconds} s | ${gapMs(captures, span)} ms |`);
  }
}

async function main(): Promise<void> {
  const text = { type: "string" } as const;
  const { values } = parseArgs({ options: { size: text, increment: text, binary: text } });
  const sizes = {
    hugeBytes: parseWhole("size", values.size, 4_000, 1, 1_000_000) * 1e6,
    transactionBytes: parseWhole("increment", values.increment, 50, 1, 1_000) * 1e6,
  };
  const binary = await ensureBinary(values.binary ?? null);
  const workspace = await Workspace.create("capture-gap");
  try {
    await workspace.scope("gap", (folder) => measure(workspace, folder, binary, sizes));
  } finally {
    await workspace.dispose();
  }
}

main().catch((error: unknown) => fail(error instanceof Error ? error.message : String(error)));
