/**
 * `bun run test [FILTER…]`: installs packages, builds the executable, runs the unit tests in parallel and
 * then the end-to-end tests, two files at a time. With filters, runs only files whose path contains one of
 * them. The files of a few failed tests run a second time, alone: a test that passes then counts as passed,
 * and the end of the output names it with the first failure. The last line counts tests. Exits with 1 when a
 * test or the build failed, or when no test ran.
 */
import { missingPeers } from "./peers.ts";
import {
  addResults,
  applySecondRun,
  countingLine,
  END_TO_END_WORKERS,
  findTestFiles,
  formatFailures,
  isEndToEnd,
  mayRunAgain,
  runTests,
} from "./test/test-run.ts";
import { bunCommand, ensurePackages, fail, run } from "./toolchain.ts";

const filters = process.argv.slice(2);
const files = findTestFiles(filters);
if (files.length === 0) fail(`No test file matches ${filters.join(" ")}\n0 passed, 0 failed, 0 skipped`);

await ensurePackages();
const endToEnd = files.filter(isEndToEnd);
if (endToEnd.length > 0 && (await run(bunCommand("scripts/build.ts"))) !== 0) {
  fail("The executable cannot be built, so nothing was tested\n0 passed, 1 failed, 0 skipped");
}

const unit = await runTests(files.filter((path) => !isEndToEnd(path)));
const first = addResults(unit, await runTests(endToEnd, END_TO_END_WORKERS));
const failedFiles = [...new Set(first.failures.map((failure) => failure.file))];
const result = mayRunAgain(first)
  ? applySecondRun(first, await runTests(failedFiles, 1))
  : { ...first, unsteady: [] };

const { counts } = result;
const missing = missingPeers();
if (missing.length > 0) {
  const effect = counts.skipped === 0 ? "no test here needed them" : `${counts.skipped} tests were skipped`;
  console.log(`\nNot installed: ${missing.join(", ")}; ${effect}. \`bun run peers\` installs them.`);
}
process.stdout.write(formatFailures(result));
console.log(`\n${countingLine(counts)}`);
process.exit(counts.failed === 0 && counts.passed > 0 ? 0 : 1);
