/**
 * Runs `bun test` over given files, passes its output on, and returns the counts of its summary and the
 * failed tests. A run without a summary counts as one failed test, and so does an error outside of any test.
 */
import { bunCommand, ROOT } from "../toolchain.ts";

/** One failed test of a run. */
export interface FailedTest {
  /** Path of the test file below the top level. */
  readonly file: string;
  /** Names of its groups and of the test, joined by " > ". */
  readonly name: string;
  /** The output between the result of the test before and this one: the source lines and the error. */
  readonly output: string;
}

/** The result of a run. */
export interface RunResult {
  readonly counts: Counts;
  readonly failures: readonly FailedTest[];
}

/** Numbers of tests by their result. */
export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** Counts of a run without tests. */
export const NO_TESTS: Counts = { passed: 0, failed: 0, skipped: 0 };

/** Adds the results of two runs of different tests. */
export function addResults(left: RunResult, right: RunResult): RunResult {
  return {
    counts: {
      passed: left.counts.passed + right.counts.passed,
      failed: left.counts.failed + right.counts.failed,
      skipped: left.counts.skipped + right.counts.skipped,
    },
    failures: [...left.failures, ...right.failures],
  };
}

/** The result of a first run, and which of its failures a second run did not repeat. */
export interface FinalResult extends RunResult {
  /** Tests that failed in the first run and passed in the second: a fault that depends on timing. */
  readonly unsteady: readonly FailedTest[];
}

/** More failures than this are a fault of the change, not of a busy machine. */
const RUN_AGAIN_MAX = 5;

/** Whether a second run is worthwhile: few failures, each with a name. */
export function mayRunAgain({ counts, failures }: RunResult): boolean {
  return failures.length > 0 && failures.length <= RUN_AGAIN_MAX && failures.length === counts.failed;
}

/**
 * Combines a first run with a second run of the files that had failures. A file counts as passed only if all
 * its tests passed in the second run; a second run that ended early changes nothing.
 */
export function applySecondRun(first: RunResult, second: RunResult): FinalResult {
  const isComplete = second.counts.passed > 0 && second.counts.failed === second.failures.length;
  const failedAgain = new Set(second.failures.map((failure) => failure.file));
  const isUnsteady = (failure: FailedTest): boolean => isComplete && !failedAgain.has(failure.file);
  const unsteady = first.failures.filter(isUnsteady);
  const { passed, failed, skipped } = first.counts;
  return {
    counts: { passed: passed + unsteady.length, failed: failed - unsteady.length, skipped },
    failures: first.failures.filter((failure) => !isUnsteady(failure)),
    unsteady,
  };
}

/** Lines of output that are shown of each failure. */
const FAILURE_LINES = 25;

/** The failed tests, each under a line that begins with "failed: " or "passed on the second run only: ". */
export function formatFailures({ failures, unsteady }: FinalResult): string {
  const format =
    (label: string) =>
    ({ file, name, output }: FailedTest): string =>
      `\n${label}: ${file}: ${name}\n${output.split("\n").slice(-FAILURE_LINES).join("\n")}\n`;
  return [...unsteady.map(format("passed on the second run only")), ...failures.map(format("failed"))].join(
    "",
  );
}

/** The last line of every run. */
export function countingLine(counts: Counts): string {
  return `${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`;
}

/** Ten thousand cases of a property take minutes (test/support/property-cases.ts). */
const PER_TEST_TIMEOUT_MS = process.env["WALRUST_PROPERTY_CASES"] ? 3_600_000 : 60_000;

/** The test files below `test/` whose path contains one of the filters (all without any), sorted. */
export function findTestFiles(filters: readonly string[]): string[] {
  const all = [...new Bun.Glob("test/**/*.test.ts").scanSync({ cwd: ROOT })].sort();
  if (filters.length === 0) return all;
  const wanted = filters.map((filter) => filter.replace(/^\.\//, ""));
  return all.filter((path) => wanted.some((filter) => path.includes(filter)));
}

/** Whether a test file needs the built executable. */
export function isEndToEnd(path: string): boolean {
  return path.startsWith("test/e2e/");
}

/**
 * Processes that run end-to-end tests. These tests mostly wait for a process or for its clock: two at once
 * take half of the time of one after the other and disturb each other little. More would fill two cores.
 */
export const END_TO_END_WORKERS = 2;

/**
 * Runs test files in worker processes: a process for each core unless a number is given. With one worker,
 * one file runs after the other.
 */
export async function runTests(files: readonly string[], workers?: number): Promise<RunResult> {
  if (files.length === 0) return { counts: NO_TESTS, failures: [] };
  const child = Bun.spawn(
    bunCommand(
      "test",
      `--timeout=${PER_TEST_TIMEOUT_MS}`,
      ...workerFlags(workers),
      ...files.map((path) => `./${path}`),
    ),
    { cwd: ROOT, env: testEnvironment(), stdio: ["ignore", "inherit", "pipe"] },
  );
  let output = "";
  for await (const chunk of child.stderr.pipeThrough(new TextDecoderStream())) {
    process.stderr.write(chunk);
    output += chunk;
  }
  return { counts: readCounts(output, await child.exited), failures: readFailures(output) };
}

function workerFlags(workers: number | undefined): string[] {
  if (workers === 1) return ["--isolate"];
  return [workers === undefined ? "--parallel" : `--parallel=${workers}`];
}

/**
 * Reads the counts from the summary at the end of Bun's output. A non-zero exit code counts as one failed
 * test when the summary is missing or reports no failure.
 */
export function readCounts(output: string, exitCode: number): Counts {
  const plain = Bun.stripANSI(output);
  // A failure may quote the output of a run inside the run.
  const end = [...plain.matchAll(/^Ran \d+ tests? across \d+ files?\./gm)].at(-1)?.index ?? -1;
  const summary = end === -1 ? "" : plain.slice(plain.lastIndexOf("\n\n", end), end);
  const count = (word: string): number =>
    Number(summary.match(new RegExp(`^ *(\\d+) ${word}$`, "m"))?.[1] ?? 0);
  const failed = count("fail");
  return {
    passed: count("pass"),
    failed: failed === 0 && (exitCode !== 0 || end === -1) ? 1 : failed,
    skipped: count("skip") + count("todo"),
  };
}

/** Reads the failed tests from Bun's output, in the order of their end. */
export function readFailures(output: string): FailedTest[] {
  const failures: FailedTest[] = [];
  let file = "";
  let since: string[] = [];
  const lines = Bun.stripANSI(output).split("\n");
  // At the end of a long run Bun repeats the failed tests.
  const end = lines.findLastIndex((line) => /^\d+ tests? failed:$/.test(line));
  for (const line of end === -1 ? lines : lines.slice(0, end)) {
    const header = /^(test\/\S+\.test\.ts):$/.exec(line);
    // Bun prints a sign instead of the word where it prints colours.
    const result = /^(?:\((?:pass|skip|todo|(fail))\)|[✓»✎]|(✗)) (.*?)(?: \[[\d.]+ms\])?$/.exec(line);
    const isFailure = result !== null && (result[1] ?? result[2]) !== undefined;
    if (isFailure) failures.push({ file, name: result[3]!, output: since.join("\n").trim() });
    if (header !== null) file = header[1]!;
    if (header === null && result === null) since.push(line);
    else since = [];
  }
  return failures;
}

/** This process's environment without the variables of a cloud account or of certificates. */
function testEnvironment(): Record<string, string | undefined> {
  const { AWS_CA_BUNDLE: _bundle, AWS_PROFILE: _profile, FORCE_COLOR: _color, ...rest } = process.env;
  return rest;
}
