/**
 * `bun run check`: the gate before a commit. Runs Biome (format and lint), tsc (over the program, and over
 * the page of the dashboard), the comparison of the READMEs' generated tables, and all unit tests, tidy among
 * them. Runs every step, also after one that
 * failed. `--static` skips the tests.
 */
import { countingLine, findTestFiles, isEndToEnd, runTests } from "./test/test-run.ts";
import { bunCommand, ensurePackages, run } from "./toolchain.ts";

await ensurePackages();
const failures: string[] = [];

const BIOME = bunCommand(
  "node_modules/.bin/biome",
  "check",
  "--config-path=.biome.json",
  "--error-on-warnings",
);
if ((await run(BIOME)) !== 0) failures.push("Biome (bun run format fixes most findings)");
for (const program of [".", "src/observability/dashboard/browser"]) {
  const exitCode = await run(bunCommand("node_modules/.bin/tsc", "-p", program));
  if (exitCode !== 0) failures.push(`tsc -p ${program}`);
}
if ((await run(bunCommand("scripts/reference.ts", "--check"))) !== 0) failures.push("the reference");

if (!process.argv.includes("--static")) {
  const { counts } = await runTests(findTestFiles([]).filter((path) => !isEndToEnd(path)));
  console.log(`\n${countingLine(counts)}`);
  if (counts.failed > 0 || counts.passed === 0) failures.push("tests");
}

console.log(failures.length === 0 ? "check: all clear" : `check: failed in ${failures.join(", ")}`);
process.exit(failures.length === 0 ? 0 : 1);
