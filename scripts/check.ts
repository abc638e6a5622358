/**
 * `bun run check`: the gate before a commit. Format and lint (Biome), types (tsc), then the tidy test and all
 * other unit tests. Every step runs even if one before it failed. `--static` leaves the tests out.
 */
import { countingLine, findTestFiles, isEndToEnd, runTests } from "./test-run.ts";
import { bunCommand, ensurePackages, run } from "./toolchain.ts";

await ensurePackages();
const failures: string[] = [];

const BIOME = bunCommand(
  "node_modules/.bin/biome",
  "check",
  "--config-path=.biome.json",
  "--error-on-warnings",
);
if ((await run(BIOME)) !== 0) failures.push("Biome (bun run format mends most of it)");
if ((await run(bunCommand("node_modules/.bin/tsc", "-p", "."))) !== 0) failures.push("tsc");

if (!process.argv.includes("--static")) {
  const counts = await runTests(
    findTestFiles([]).filter((path) => !isEndToEnd(path)),
    "parallel",
  );
  console.log(`\n${countingLine(counts)}`);
  if (counts.failed > 0 || counts.passed === 0) failures.push("tests");
}

console.log(failures.length === 0 ? "check: all clear" : `check: failed in ${failures.join(", ")}`);
process.exit(failures.length === 0 ? 0 : 1);
