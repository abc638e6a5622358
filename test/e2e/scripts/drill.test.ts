/**
 * The short form of `bun run drill`: a few kills of the built executable, and a comparison of everything,
 * against a folder and against S3.
 */
import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { walrustBinary } from "../../support/processes/binary.ts";
import { runScript } from "./run-script.ts";

setDefaultTimeout(120_000);

const SCRIPT = join(import.meta.dir, "../../../scripts/drill.ts");

test("a drill of a few kills ends with every restore equal to its source", async () => {
  const { exitCode, stdout, stderr } = await runScript(SCRIPT, [
    ...["--kills", "4", "--kills-per-check", "2", "--databases", "2", "--seed", "7"],
    // A busy machine is no fault of a recovery: the long form judges the time.
    ...["--recovery-secs", "60", "--binary", await walrustBinary(), "--observed"],
  ]);
  expect({ exitCode, end: stdout.trimEnd().split("\n").at(-1), stdout, stderr }).toMatchObject({
    ...{ exitCode: 0, end: "PASSED" },
  });
  expect(stdout).toMatch(/^\| folder \| \d+ \| \d+ \|/m);
  for (const label of ["folder", "s3"]) {
    expect(stdout).toMatch(new RegExp(`^${label}: Judged answers of \\d+ processes: dashboard [1-9]`, "m"));
  }
  expect(stdout).toMatch(/^\| s3 \| \d+ \| \d+ \|/m);
});
