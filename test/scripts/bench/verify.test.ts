/**
 * The verdict on restored databases, with a tool whose restore is `cp` of a prepared file: equal, late,
 * corrupt or of another history.
 */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type History, verify } from "../../../scripts/bench/cases/verify.ts";
import type { Site, Tool } from "../../../scripts/bench/processes/tools.ts";
import { seedOf } from "../../../scripts/bench/processes/writer.ts";
import { createDatabase, openAsApplication, prepareCommit } from "../../../scripts/measure/databases.ts";
import { Workspace } from "../../../scripts/measure/workspace.ts";

const SEED = 7;
const COMMITS = Float64Array.of(100, 200, 300, 400);
let workspace: Workspace;
let templatePath: string;

beforeAll(async () => {
  workspace = await Workspace.create("bench");
  templatePath = join(workspace.folder, "template.db");
  createDatabase(templatePath, 100_000, 1);
});
afterAll(() => workspace.dispose());

function committed(name: string, commitCount: number): string {
  const path = join(workspace.folder, name);
  copyFileSync(templatePath, path);
  const database = openAsApplication(path);
  const commit = prepareCommit(database, seedOf(SEED, 0));
  for (let count = 0; count < commitCount; count++) commit();
  database.close(true);
  return path;
}

/** Verifies a source with four commits against a prepared file in place of its restored copy. */
async function judge(prepared: string, isKilled: boolean, hasHistory = true) {
  const tool: Tool = {
    name: "walrust",
    watch: () => ({ words: ["true"], env: {} }),
    copyOnce: () => ({ words: ["true"], env: {} }),
    restore: (_site, _database, target) => ({ words: ["cp", prepared, target], env: {} }),
    thorough: null,
    status: null,
  };
  const endpoint = { url: "http://127.0.0.1:1", port: 1, caPath: null };
  const site: Site = { endpoint, prefix: "p", folder: workspace.folder, user: null };
  const history: History = { isKilled, endMs: 350, commitsMs: [COMMITS], templatePath, seed: SEED };
  const source = committed("source.db", COMMITS.length);
  return await verify(workspace, tool, site, [source], 1, hasHistory ? history : null);
}

test("an equal copy is right, and misses nothing", async () => {
  const { values, failure } = await judge(committed("equal.db", 4), false);
  expect(failure).toBeNull();
  expect(values).toMatchObject({ restoredCount: 1, wrongCount: 0, missingCommitCount: 0, missingMs: 0 });
});

test.each([true, false])("an older state is right, and misses commits (killed: %p)", async (isKilled) => {
  const { values, failure } = await judge(committed("late.db", 1), isKilled);
  expect(failure).toBeNull();
  expect(values).toMatchObject({ wrongCount: 0, missingCommitCount: 2, missingMs: 150 });
});

test("an older state is wrong where nothing may be missing", async () => {
  const { values, failure } = await judge(committed("late.db", 3), false, false);
  expect(values).toMatchObject({ wrongCount: 1 });
  expect(failure).toContain("3 commits instead of 4 commits");
});

test("all commits in other bytes are wrong after an orderly end", async () => {
  const path = committed("other-bytes.db", 4);
  const database = new Database(path);
  database.run("PRAGMA user_version = 1");
  database.close(true);
  const { values, failure } = await judge(path, false);
  expect(values).toMatchObject({ wrongCount: 1 });
  expect(failure).toContain("from byte");
});

test("a corrupt copy is wrong after a SIGKILL", async () => {
  const path = committed("corrupt.db", 2);
  const bytes = readFileSync(path);
  bytes.fill(0xff, 40_960, 45_056);
  writeFileSync(path, bytes);
  expect((await judge(path, true)).values).toMatchObject({ wrongCount: 1 });
});

test("a restore that fails is a wrong one", async () => {
  const { values, failure } = await judge(join(workspace.folder, "absent"), true);
  expect(values).toMatchObject({ restoredCount: 1, wrongCount: 1 });
  expect(failure).toContain("exit code 1");
});
