/**
 * Each exit code of each verb. The output has one line for the failure, one line for the hint, and the same
 * as one JSON document. The table has every pair of verb and exit code that the help names.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { recordHistory } from "../../support/histories/history.ts";
import { EXIT_CASES, type ExitCase } from "../../support/oracles/exit-cases.ts";
import { assertNoSlip, failureDocument, toldFailure } from "../../support/oracles/run-checks.ts";
import { mustWalrust, type Run, runWalrust } from "../../support/processes/binary.ts";
import { makeWorld, replacedFile } from "../../support/processes/exit-world.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

const VERBS = [
  ...["watch", "snapshot", "restore", "undo", "list", "verify"],
  ...["compact", "replicate", "serve", "status", "sync", "reload", "doctor", "explain", "pragma"],
];

let world: Awaited<ReturnType<typeof makeWorld>>;

beforeAll(async () => {
  world = await makeWorld();
});
afterAll(() => world.server.stop());

async function runCase(exitCase: ExitCase, ...flags: string[]): Promise<Run> {
  const undo: (() => void)[] = [];
  try {
    const words = exitCase.words(world, undo);
    const run = await runWalrust([exitCase.verb, ...words, ...flags], {
      cwd: world.folder,
      env: exitCase.env?.(world),
    });
    assertNoSlip(run);
    return run;
  } finally {
    for (const step of undo) step();
  }
}

const named = (cases: readonly ExitCase[]): [string, number, string, ExitCase][] =>
  cases.map((one) => [one.verb, one.code, one.what, one]);

test.each(named(EXIT_CASES.filter(({ error }) => error !== null)))(
  "%s ends with %d when %s, with message and hint",
  async (verb, code, _what, exitCase) => {
    const text = await runCase(exitCase);
    expect([text.exitCode, text.stdout]).toEqual([code, ""]);
    const { message, hint } = toldFailure(text);
    for (const part of exitCase.said) expect(message).toContain(part);
    if (exitCase.hint === null) expect(hint).toBeNull();
    else expect(hint ?? "no hint").toContain(exitCase.hint);

    const json = await runCase(exitCase, "--json");
    expect(json.exitCode).toBe(code);
    const error = failureDocument(json, verb === "watch");
    expect(error).toMatchObject({ code: exitCase.error, exit: code, hint: toldFailure(json).hint });
    expect(error.message).toBe(toldFailure(json).message);
    for (const part of exitCase.said) expect(error.message).toContain(part);
  },
);

test.each(named(EXIT_CASES.filter(({ error }) => error === null)))(
  "%s ends with %d when %s, with a report on stdout",
  async (_verb, code, _what, exitCase) => {
    const text = await runCase(exitCase);
    expect([text.exitCode, text.stderr]).toEqual([code, ""]);
    for (const part of [...exitCase.said, exitCase.hint ?? ""]) expect(text.stdout).toContain(part);
    const json = await runCase(exitCase, "--json");
    expect([json.exitCode, json.stderr, json.stdout.split("\n").length]).toEqual([code, "", 2]);
    expect(Object.keys(JSON.parse(json.stdout))).not.toContain("error");
  },
);

test("a failed verb leaves no partial file behind", () => {
  const left = readdirSync(world.folder).filter((name) => /restored|replica|tmp/.test(name));
  expect(left).toEqual([]);
  expect(existsSync(join(world.folder, "none"))).toBe(false);
});

/** Calls of each verb that succeed. The success of `watch` is its end, which signals.test.ts covers. */
const SUCCESSES: readonly (readonly [verb: string, words: (folder: string) => readonly string[]])[] = [
  ["snapshot", () => ["app.db", "-b", "file:BUCKET"]],
  ["restore", (folder) => ["app", "-o", join(folder, "ok-restored.db"), "--dry-run", "-b", "file:BUCKET"]],
  ["undo", (folder) => [replacedFile(folder)]],
  ["list", () => ["-b", "file:BUCKET"]],
  ["verify", () => ["--all", "-b", "file:BUCKET"]],
  ["compact", () => ["app", "-b", "file:BUCKET"]],
  ["prune", () => ["app", "-b", "file:BUCKET"]],
  ["replicate", (folder) => ["file:BUCKET/app", "--local", join(folder, "ok.db"), "--once"]],
  ["doctor", () => ["app.db", "-b", "file:BUCKET"]],
  ["explain", () => ["app.db", "-b", "file:BUCKET"]],
  ["pragma", () => []],
];

test.each(SUCCESSES)("%s ends with 0, and --json is one document", async (verb, words) => {
  const call = [verb, ...words(world.folder).map((word) => word.replace("BUCKET", `//${world.bucket}`))];
  const text = await runWalrust(call, { cwd: world.folder });
  expect(text.exitCode).toBe(0);
  assertNoSlip(text);
  const json = await mustWalrust([...call, "--json"], { cwd: world.folder });
  assertNoSlip(json);
  const lines = json.stdout.trimEnd().split("\n");
  if (verb !== "replicate") expect(lines.length).toBe(1);
  for (const line of lines) expect(typeof JSON.parse(line)).toBe("object");
  if (verb !== "replicate") expect(json.stderr).toBe("");
});

test("the tables have every exit code that a verb's help names", async () => {
  const known = new Set(EXIT_CASES.map(({ verb, code }) => `${verb} ${code}`));
  for (const [verb] of SUCCESSES) known.add(`${verb} 0`);
  // Covered elsewhere: signals (signals.test.ts), failing output (standard-output.test.ts), a running watch
  // (status.test.ts, sync.test.ts, course/), a running server (push.test.ts).
  const elsewhere = ["status 0", "status 1", "sync 0", "sync 3", "sync 4", "reload 0", "reload 2"];
  const ofWatch = ["watch 0", "watch 5", "watch 6", "watch 130"];
  for (const more of [...ofWatch, "compact 5", "serve 0", ...elsewhere]) known.add(more);
  const missing: string[] = [];
  for (const verb of VERBS) {
    const { stdout } = await mustWalrust([verb, "--help"]);
    const codes = [...stdout.slice(stdout.indexOf("Exit codes:")).matchAll(/^ +(\d+) {2}\S/gm)];
    expect(codes.length).toBeGreaterThan(2);
    missing.push(...codes.map(([, code]) => `${verb} ${code}`).filter((pair) => !known.has(pair)));
  }
  expect(missing).toEqual([]);
});

test("compact ends with 5 when a source of a merge is damaged", async () => {
  const destination = fileDestination();
  await recordHistory(destination);
  const config = join(tempFolder("compact"), "walrust.toml");
  writeFileSync(config, '[compaction]\nlevels = ["24h"]\npreserve_recent = 1\n');
  const folder = join(destination.folder, "app", "ltx", "0");
  const objects = readdirSync(folder).filter((name) => name.endsWith(".ltx"));
  for (const name of objects.slice(0, -1)) {
    const bytes = readFileSync(join(folder, name));
    bytes[bytes.length >> 1]! ^= 0xff;
    writeFileSync(join(folder, name), bytes);
  }
  const words = ["compact", "app", "--force", "--config", config, ...destination.words];
  for (const flags of [[], ["--json"]]) {
    const run = await runWalrust([...words, ...flags]);
    assertNoSlip(run);
    expect(run.exitCode).toBe(5);
    expect(toldFailure(run).message).toMatch(/0000000000000002-[0-9a-f]{16}\.ltx.*SHA-256/);
    if (flags.length > 0) expect(failureDocument(run)).toMatchObject({ code: "integrity", exit: 5 });
  }
  expect(readdirSync(folder).filter((name) => name.endsWith(".ltx"))).toEqual(objects);
});
