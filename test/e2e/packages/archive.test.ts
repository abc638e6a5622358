/**
 * `bun run package` around the built executable, and `try-packages.sh`, which releases run on each platform:
 * checksums, the executable of the archive, and the npm packages, which replicate and restore a database.
 */
import { expect, setDefaultTimeout } from "bun:test";
import { join } from "node:path";
import { nativeTarget } from "../../../scripts/package/targets.ts";
import { cleanEnvironment, untilTestEnds, walrustBinary } from "../../support/processes/binary.ts";
import { testWith } from "../../support/servers/peers.ts";
import { tempFolder } from "../../support/temp.ts";

// A machine with thirty waiting processes takes a minute.
setDefaultTimeout(400_000);

const SCRIPTS = join(import.meta.dir, "../../../scripts");

async function run(command: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const stdio = ["ignore", "pipe", "pipe"] as ["ignore", "pipe", "pipe"];
  const child = untilTestEnds(
    Bun.spawn([...command], { cwd: tempFolder("cwd"), env: cleanEnvironment(env), stdio }),
  );
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { exitCode: await child.exited, stdout, stderr };
}

testWith("sqlite3")("the archive and the npm packages replicate and restore", async () => {
  const out = tempFolder("packages");
  const binary = await walrustBinary();
  const script = join(SCRIPTS, "package.ts");
  const words = ["--binary", binary, "--out", out, "--level", "1", "--kind", "npm,archive"];
  const made = await run([process.execPath, script, ...words], { SOURCE_DATE_EPOCH: "1700000000" });
  if (made.exitCode !== 0) throw new Error(made.stderr);
  const tried = await run(["sh", join(SCRIPTS, "package/try-packages.sh"), out, nativeTarget().name]);
  if (tried.exitCode !== 0) throw new Error(`${tried.stdout}${tried.stderr}`);
  expect(tried.stdout).toContain("from-archive: replicated and restored");
  expect(tried.stdout).toContain("from-npm: replicated and restored");
});
