/**
 * The Python package from outside: its wheel is built, installed by pip into fresh virtual environments of
 * the oldest and the newest Python of this machine, and used there. The tests in Python beside this file do
 * the using; this file runs them, the examples of the README, and a type checker.
 */
import { Database } from "bun:sqlite";
import { expect, setDefaultTimeout } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import {
  findPythons,
  type Python,
  runPython,
  VirtualEnvironment,
} from "../../support/python/virtual-environment.ts";
import { blockOf, namesOf } from "../../support/readme/readme-blocks.ts";
import { peerPath, peerPathOrNull, testWith } from "../../support/servers/peers.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(120_000);

const PYTHONS = peerPathOrNull("python3") === null ? [] : await findPythons();

/** The oldest and the newest Python, or the only one. Without any, the peer is missing. */
const ROWS: (readonly [string, Python])[] = [...new Set([PYTHONS.at(0), PYTHONS.at(-1)])]
  .filter((python) => python !== undefined)
  .map((python) => [`3.${python.minor}`, python] as const);

const environments = new Map<Python, Promise<VirtualEnvironment>>();

function environmentOf(python: Python): Promise<VirtualEnvironment> {
  const made = environments.get(python) ?? VirtualEnvironment.install(python);
  environments.set(python, made);
  return made;
}

testWith("python3")("a Python from 3.9 on is here", () => {
  expect(ROWS.length).toBeGreaterThan(0);
});

/** Each module of tests under each Python. */
const MODULES = [...new Bun.Glob("test_*.py").scanSync({ cwd: import.meta.dir })].toSorted();
const RUNS = ROWS.flatMap(([version, python]) => MODULES.map((module) => [version, module, python] as const));

testWith("python3").each(RUNS)("Python %s: the tests of %s pass", async (_, module, python) => {
  const environment = await environmentOf(python);
  const run = await environment.run(["-m", "unittest", "discover", "-s", import.meta.dir, "-p", module]);
  expect(run.stderr).toMatch(/\nRan [1-9]\d* tests in .*\n\nOK\n$/);
  expect(run).toMatchObject({ exitCode: 0, stdout: "" });
});

testWith("python3")("README.md: the example in Python does as it says", async () => {
  expect(namesOf("python")).toEqual(["first"]);
  const folder = tempFolder("readme");
  using database = new Database(join(folder, "app.db"));
  database.run("PRAGMA journal_mode = WAL");
  database.run("CREATE TABLE notes (text TEXT)");
  const written = blockOf("python", "first").text;
  const text = written
    .replace('"s3://my-bucket", endpoint="https://fly.storage.tigris.dev"', `"file://${folder}/bucket"`)
    .replaceAll("/path/to", folder);
  expect(text).not.toBe(written);
  const run = await (await environmentOf(ROWS[0]![1])).run(["-c", text]);
  expect(run).toMatchObject({ exitCode: 0, stderr: "" });
  expect(run.stdout).toMatch(/^app \{'txid': 1, 'time': '[^']+Z'\}\n$/);
  using restored = new Database(join(folder, "restored.db"), { readonly: true });
  expect(restored.query("SELECT count(*) AS n FROM notes").get()).toEqual({ n: 0 });
});

testWith("python3", "mypy")("mypy accepts the package, and finds each wrong use of it", async () => {
  const environment = await environmentOf(ROWS.at(-1)![1]);
  const words = ["--strict", "--no-error-summary", "--hide-error-context", "--cache-dir=/dev/null"];
  const python = `--python-executable=${join(environment.folder, "bin", "python")}`;
  const run = await runPython([peerPath("mypy"), ...words, python, "-p", "walrust"], environment.folder);
  expect(run).toEqual({ exitCode: 0, stdout: "", stderr: "" });
  const use = join(import.meta.dir, "typed_use.py");
  const { stdout } = await runPython([peerPath("mypy"), ...words, python, use], environment.folder);
  const found = [...stdout.matchAll(/^.*?:(\d+): error: .*\[([\w-]+)\]$/gm)];
  const marked = readFileSync(use, "utf8")
    .split("\n")
    .flatMap((line, index) => (/# wrong: (.*)$/.test(line) ? [[`${index + 1}`, line] as const] : []));
  expect([...new Set(found.map(([, line]) => line!))], stdout).toEqual(marked.map(([line]) => line));
  for (const [, line, code] of found) expect(marked.find(([at]) => at === line)![1], stdout).toContain(code!);
});
