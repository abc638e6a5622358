/** The short form of `bun run chaos`: some seconds of faults, and a comparison of everything. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { walrustBinary } from "../../support/processes/binary.ts";
import { runScript } from "./run-script.ts";

setDefaultTimeout(120_000);

const SCRIPT = join(import.meta.dir, "../../../scripts/chaos.ts");

test("a short life among faults ends with every restore equal to its source", async () => {
  const { exitCode, stdout, stderr } = await runScript(SCRIPT, [
    ...["--minutes", "0.25", "--databases", "2", "--seed", "3"],
    // A busy machine is no fault of a recovery: the long form judges the time.
    ...["--recovery-secs", "60", "--binary", await walrustBinary(), "--observed"],
  ]);
  expect({ exitCode, end: stdout.trimEnd().split("\n").at(-1), stdout, stderr }).toMatchObject({
    ...{ exitCode: 0, end: "PASSED" },
  });
  expect(stdout).toContain("MTBF: more than");
  expect(stdout).toMatch(/^Judged answers of \d+ processes: dashboard [1-9]\d*, metrics [1-9]/m);
});
