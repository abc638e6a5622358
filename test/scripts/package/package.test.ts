/**
 * `bun run package` around a program that has the version of walrust: the same bytes in two runs, the sums as
 * sha256sum reads them, and the refusal of another version.
 */
import { expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import packageJson from "../../../package.json";
import { KINDS, kindsNamed } from "../../../scripts/package/kinds.ts";
import { SUMS } from "../../../scripts/package/sums.ts";
import { nativeTarget } from "../../../scripts/package/targets.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

const SCRIPT = join(import.meta.dir, "../../../scripts/package.ts");
const { version } = packageJson;
const { name: native } = nativeTarget();

/** A program that prints a version as walrust does, and knows no other words. */
function program(own = version): string {
  const path = join(tempFolder("program"), "walrust");
  const answer = JSON.stringify({ walrust: own });
  writeFileSync(path, `#!/bin/sh\n[ "$1" = --version ] || exit 2\necho '${answer}'\n`);
  chmodSync(path, 0o755);
  return path;
}

async function make(out: string, binary: string, ...words: string[]) {
  const kinds = ["--kind", "npm,archive,sbom"];
  const child = Bun.spawn([process.execPath, SCRIPT, "--out", out, "--binary", binary, ...kinds, ...words], {
    env: { ...process.env, SOURCE_DATE_EPOCH: "1700000000" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { exitCode: await child.exited, stdout, stderr };
}

test("two runs make the same files, and sha256sum confirms them", async () => {
  const binary = program();
  const [first, second] = [tempFolder("out"), tempFolder("out")];
  const runs = [await make(first, binary), await make(second, binary)];
  expect(runs.map(({ exitCode }) => exitCode)).toEqual([0, 0]);
  const names = [
    SUMS,
    `walrust-${version}-${native}.tar.gz`,
    `walrust-${version}.cdx.json`,
    `walrust-${version}.tgz`,
    `walrust-${native}-${version}.tgz`,
  ];
  expect(readdirSync(first).toSorted()).toEqual(names.toSorted());
  expect(readdirSync(second).toSorted()).toEqual(names.toSorted());
  for (const name of names) {
    expect(readFileSync(join(second, name)).equals(readFileSync(join(first, name)))).toBe(true);
  }
  const check = Bun.spawnSync(["sha256sum", "--check", "--strict", SUMS], { cwd: first });
  expect(check.stdout.toString().match(/: OK$/gm)).toHaveLength(names.length - 1);
});

test("a run removes the files of the run before, and no others", async () => {
  const out = tempFolder("out");
  const binary = program();
  await make(out, binary);
  writeFileSync(join(out, "mine.txt"), "mine");
  expect((await make(out, binary, "--kind", "sbom")).exitCode).toBe(0);
  expect(readdirSync(out).toSorted()).toEqual([SUMS, "mine.txt", `walrust-${version}.cdx.json`]);
});

test("an executable of another version is refused", async () => {
  const binary = program("0.0.1");
  const { exitCode, stderr } = await make(tempFolder("out"), binary);
  expect(exitCode).toBe(1);
  expect(stderr).toContain(`${binary} is walrust 0.0.1, and package.json has the version ${version}`);
});

test("kindsNamed gives all kinds without names, and refuses an unknown name", () => {
  expect(kindsNamed([])).toEqual([...KINDS]);
  expect(kindsNamed(["archive", "npm"]).map(({ name }) => name)).toEqual(["npm", "archive"]);
  expect(() => kindsNamed(["zip"])).toThrow("Unknown kind zip, expected one of npm, archive, ");
});
