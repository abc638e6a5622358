/**
 * One run of `bun test` over given files: shows its output as it comes and returns the counts of its summary.
 * A run that dies before its summary counts as a failure; so does an error outside of any test.
 */
import { bunCommand, ROOT } from "./toolchain.ts";

/** How tests ended. */
export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** No test at all. */
export const NO_TESTS: Counts = { passed: 0, failed: 0, skipped: 0 };

/** The sum of two runs. */
export function addCounts(left: Counts, right: Counts): Counts {
  return {
    passed: left.passed + right.passed,
    failed: left.failed + right.failed,
    skipped: left.skipped + right.skipped,
  };
}

/** The line that ends every run. */
export function countingLine(counts: Counts): string {
  return `${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`;
}

const PER_TEST_TIMEOUT_MS = 60_000;

/** The test files below `test/` whose path contains one of the filters (all without any), sorted. */
export function findTestFiles(filters: readonly string[]): string[] {
  const all = [...new Bun.Glob("test/**/*.test.ts").scanSync({ cwd: ROOT })].sort();
  if (filters.length === 0) return all;
  const wanted = filters.map((filter) => filter.replace(/^\.\//, ""));
  return all.filter((path) => wanted.some((filter) => path.includes(filter)));
}

/** Whether a test file needs the built executable and runs alone. */
export function isEndToEnd(path: string): boolean {
  return path.startsWith("test/e2e/");
}

/**
 * Runs test files: side by side, a process each worker, or one after the other when they take the machine.
 */
export async function runTests(files: readonly string[], order: "parallel" | "serial"): Promise<Counts> {
  if (files.length === 0) return NO_TESTS;
  const child = Bun.spawn(
    bunCommand(
      "test",
      `--timeout=${PER_TEST_TIMEOUT_MS}`,
      order === "parallel" ? "--parallel" : "--isolate",
      ...files.map((path) => `./${path}`),
    ),
    { cwd: ROOT, env: testEnvironment(), stdio: ["ignore", "inherit", "pipe"] },
  );
  let output = "";
  for await (const chunk of child.stderr.pipeThrough(new TextDecoderStream())) {
    process.stderr.write(chunk);
    output += chunk;
  }
  return readCounts(output, await child.exited);
}

/**
 * The counts in the summary that ends Bun's output. A failing exit code is never lost: without a summary, or
 * with one that knows of no failure, it counts as one failed test.
 */
export function readCounts(output: string, exitCode: number): Counts {
  const plain = Bun.stripANSI(output);
  const end = plain.search(/^Ran \d+ tests? across \d+ files?\./m);
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

/** Our environment without what would make a test depend on this machine's cloud account or certificates. */
function testEnvironment(): Record<string, string | undefined> {
  const { AWS_CA_BUNDLE: _bundle, AWS_PROFILE: _profile, FORCE_COLOR: _color, ...rest } = process.env;
  return rest;
}
