/** Running tests: failed tests are named, and a second run excuses only the tests that passed in it. */
import { describe, expect, test } from "bun:test";
import {
  applySecondRun,
  type FailedTest,
  formatFailures,
  mayRunAgain,
  NO_TESTS,
  type RunResult,
  readCounts,
  readFailures,
} from "../../scripts/test/test-run.ts";

const OUTPUT = `bun test v1.4.5 (a7733435c) 2x PARALLEL

test/local/a.test.ts:
(pass) group > first [0.17ms]
12 | expect(1).toBe(2);
error: expect(received).toBe(expected)
\u001B[31m(fail)\u001B[0m group > second [1234.56ms]
(skip) third

test/local/b.test.ts:
error: boom
(fail) alone

2 tests failed:
(fail) group > second [1234.56ms]
(fail) alone

 1 pass
 1 skip
 2 fail
 3 expect() calls
Ran 4 tests across 2 files. [117.00ms]
`;

const failure = (file: string, name = "name"): FailedTest => ({ file, name, output: `error in ${file}` });
const run = (passed: number, failures: FailedTest[], failed = failures.length): RunResult => ({
  counts: { passed, failed, skipped: 0 },
  failures,
});

test("a failure that quotes a run inside the run hides neither counts nor later failures", () => {
  const inner = "1 tests failed:\n(fail) inner\n\n 0 pass\n 1 fail\nRan 1 test across 1 file. [1.00ms]\n";
  const quoting = OUTPUT.replace("error: boom", `error: ${inner}`);
  expect(readCounts(quoting, 1)).toEqual({ passed: 1, failed: 2, skipped: 1 });
  expect(readFailures(quoting).map(({ name }) => name)).toContain("alone");
});

describe("readFailures", () => {
  test("gives file, name and error of each failed test", () => {
    expect(readFailures(OUTPUT)).toEqual([
      {
        file: "test/local/a.test.ts",
        name: "group > second",
        output: "12 | expect(1).toBe(2);\nerror: expect(received).toBe(expected)",
      },
      { file: "test/local/b.test.ts", name: "alone", output: "error: boom" },
    ]);
  });

  test("reads real output of bun test", async () => {
    const child = Bun.spawn([process.execPath, "test", "./test/support/failing.ts"], {
      cwd: `${import.meta.dir}/../..`,
      env: { ...process.env, FORCE_COLOR: "1" },
      stdio: ["ignore", "ignore", "pipe"],
    });
    const output = (await child.stderr.text()).replaceAll("test/support/failing.ts:", "test/x.test.ts:");
    const [failed] = readFailures(output);
    expect(failed).toMatchObject({ file: "test/x.test.ts", name: "a failing test" });
    expect(failed?.output).toContain("expected to fail");
    expect(readCounts(output, await child.exited)).toEqual({ passed: 0, failed: 1, skipped: 0 });
  });
});

describe("mayRunAgain", () => {
  test("is false without a failure, with many, and with a failure that has no name", () => {
    expect(mayRunAgain({ counts: NO_TESTS, failures: [] })).toBe(false);
    expect(mayRunAgain(run(9, [failure("a")]))).toBe(true);
    expect(mayRunAgain(run(9, [failure("a")], 2))).toBe(false);
    expect(mayRunAgain(run(9, Array(6).fill(failure("a"))))).toBe(false);
  });
});

describe("applySecondRun", () => {
  const first = run(9, [failure("a"), failure("b")]);

  test("counts a test as passed when its whole file passes", () => {
    const result = applySecondRun(first, run(3, [failure("b", "another")]));
    expect(result.counts).toEqual({ passed: 10, failed: 1, skipped: 0 });
    expect(result.unsteady).toEqual([failure("a")]);
    expect(result.failures).toEqual([failure("b")]);
  });

  test("changes nothing after a second run that crashed or ran no test", () => {
    for (const second of [run(0, []), run(3, [], 1)]) {
      expect(applySecondRun(first, second)).toEqual({ ...first, unsteady: [] });
    }
  });
});

test("formatFailures names each test on a line of its own, with the end of its output", () => {
  const text = formatFailures({ ...run(9, [failure("b")]), unsteady: [failure("a")] });
  expect(text).toBe("\npassed on the second run only: a: name\nerror in a\n\nfailed: b: name\nerror in b\n");
});
