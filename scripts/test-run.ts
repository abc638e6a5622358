/**
 * Runs `bun test` over given files, passes its output on, and returns the counts of its summary. A run
 * without a summary counts as one failed test, and so does an error outside of any test.
 */
import { bunCommand, ROOT } from "./toolchain.ts";

/** Numbers of tests by their result. */
export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** Counts of a run without tests. */
export const NO_TESTS: Counts = { passed: 0, failed: 0, skipped: 0 };

/** Adds the counts of two runs. */
export function addCounts(left: Counts, right: Counts): Counts {
  return {
    passed: left.passed + right.passed,
    failed: left.failed + right.failed,
    skipped: left.skipped + right.skipped,
  };
}

/** The last line of every run. */
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

/** Whether a test file needs the built executable; such files run one at a time. */
export function isEndToEnd(path: string): boolean {
  return path.startsWith("test/e2e/");
}

/** Runs test files: `parallel` in several worker processes, `serial` one file after the other. */
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
 * Reads the counts from the summary at the end of Bun's output. A non-zero exit code counts as one failed
 * test when the summary is missing or reports no failure.
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

/** This process's environment without the variables of a cloud account or of certificates. */
function testEnvironment(): Record<string, string | undefined> {
  const { AWS_CA_BUNDLE: _bundle, AWS_PROFILE: _profile, FORCE_COLOR: _color, ...rest } = process.env;
  return rest;
}
