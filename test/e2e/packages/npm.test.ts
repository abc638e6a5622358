/**
 * The npm packages around the built executable, as npm installs them from a registry: the package of this
 * platform and no other, no install script, and a command that behaves as the executable does.
 */
import { Database } from "bun:sqlite";
import { beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import packageJson from "../../../package.json";
import { npmName, npmPackages } from "../../../scripts/package/npm/npm-packages.ts";
import { nativeTarget } from "../../../scripts/package/targets.ts";
import { commitRow, createAppDatabase, judgeAppDatabase } from "../../support/histories/app-rows.ts";
import { makePackages } from "../../support/packages/made-packages.ts";
import { NpmProject, NpmRegistry } from "../../support/packages/npm-registry.ts";
import { documentOf, mustWalrust, runWalrust } from "../../support/processes/binary.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(240_000);

const { version } = packageJson;
let registry: NpmRegistry;
let project: NpmProject;
let program: string;

beforeAll(async () => {
  registry = await NpmRegistry.serve(await makePackages(npmPackages));
  project = new NpmProject(registry);
  const install = await project.run("npm", "install", "walrust");
  expect([install.exitCode, install.stderr]).toEqual([0, ""]);
  program = project.command("walrust");
});

test("npm installs the command and the package of this platform, without a script", () => {
  const folder = join(project.folder, "node_modules");
  expect(
    readdirSync(folder)
      .filter((name) => !name.startsWith("."))
      .toSorted(),
  ).toEqual(["@walrust", "walrust"]);
  expect(readdirSync(join(folder, "@walrust"))).toEqual([nativeTarget().name]);
  const lock = readFileSync(join(project.folder, "package-lock.json"), "utf8");
  expect(lock).not.toContain("hasInstallScript");
  expect(lock).toContain(`"libc"`);
});

test("npx runs walrust, in the project and without one", async () => {
  const installed = await project.run("npx", "walrust", "--version", "--json");
  expect(documentOf(installed)).toMatchObject({ walrust: version });
  const elsewhere = new NpmProject(registry);
  const fetched = await elsewhere.run("npx", "-y", "walrust", "--version", "--json");
  expect(documentOf(fetched)).toMatchObject({ walrust: version });
  expect(existsSync(join(elsewhere.folder, "node_modules"))).toBe(false);
});

test("the command prints and ends as the executable does", async () => {
  const bucket = ["-b", `file://${tempFolder("empty")}`];
  for (const words of [
    ["--help"],
    ["list", ...bucket],
    ["list", "--nonsense"],
    ["restore", "no", ...bucket],
  ]) {
    const own = await runWalrust(words, { program });
    expect(own).toEqual(await runWalrust(words));
    expect(own.exitCode).toBe(words.includes("--help") || words.length === 3 ? 0 : 2);
  }
});

describe("a watch that the command started", () => {
  /** A watch of a new database, after its first upload. */
  async function started() {
    const path = join(tempFolder("app"), "app.db");
    createAppDatabase(path);
    const destination = fileDestination();
    const watch = await WatchProcess.start([path, ...destination.words], { program });
    await watch.waitForUploads(1);
    return { path, destination, watch };
  }

  function commit(path: string): void {
    const database = new Database(path);
    commitRow(database, 1, 1);
    database.close(true);
  }

  async function restoredRows(words: readonly string[]): Promise<number | undefined> {
    const output = join(tempFolder("restored"), "app.db");
    await mustWalrust(["restore", "app", "-o", output, ...words]);
    return judgeAppDatabase(output).get(1);
  }

  test.each(["SIGTERM", "SIGINT", "SIGHUP"] as const)(
    "uploads the last commit after %s, and ends with 0",
    async (signal) => {
      const { path, destination, watch } = await started();
      commit(path);
      watch.signal(signal);
      expect(await watch.exit()).toBe(0);
      expect(await restoredRows(destination.words)).toBe(1);
    },
  );

  test("ends the command by SIGKILL when it is killed", async () => {
    const { watch } = await started();
    process.kill(executableOf(watch.pid), "SIGKILL");
    // Bun gives 128 plus the number for a child that a signal ended.
    expect(await watch.exit()).toBe(137);
    expect(watch.signalCode).toBe("SIGKILL");
  });

  test("uploads the last commit and ends when the command is killed", async () => {
    const { path, destination, watch } = await started();
    const executable = executableOf(watch.pid);
    // A newer Node.js has become the executable: then SIGKILL leaves nothing to test.
    if (executable === watch.pid) return;
    commit(path);
    process.kill(watch.pid, "SIGKILL");
    await waitUntil(() => !existsSync(`/proc/${executable}/exe`), 20_000);
    expect(await restoredRows(destination.words)).toBe(1);
  });
});

/** The process that runs the executable: the command itself, or its only child. */
function executableOf(pid: number): number {
  if (readlinkSync(`/proc/${pid}/exe`).endsWith("/walrust")) return pid;
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8"));
}

test("the command says so when npm has left the executable out", async () => {
  const incomplete = new NpmProject(registry);
  const install = await incomplete.run("npm", "install", "walrust", "--omit=optional");
  expect(install.exitCode).toBe(0);
  const run = await runWalrust(["--version"], { program: incomplete.command("walrust") });
  expect(run).toEqual({
    exitCode: 1,
    stdout: "",
    stderr:
      `walrust: The package ${npmName(nativeTarget())} is not installed\n` +
      "  npm leaves it out with --omit=optional. Install again without this option: " +
      `npm install walrust@${version}\n`,
  });
});
