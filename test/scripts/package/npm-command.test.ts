/**
 * The command of the npm package, run by Node.js beside packages whose executable is a shell script: exit
 * codes, signals, and the messages of an installation that cannot work. `test/e2e/packages/npm.test.ts` runs
 * the real executable.
 */
import { describe, expect, test } from "bun:test";
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { npmName } from "../../../scripts/package/npm/npm-packages.ts";
import { nativeTarget, TARGETS } from "../../../scripts/package/targets.ts";
import { untilTestEnds } from "../../support/processes/binary.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";
import { tempFolder } from "../../support/temp.ts";

const COMMAND = join(import.meta.dir, "../../../scripts/package/npm/walrust.cjs");
const VERSION = "1.2.3";
const NATIVE = npmName(nativeTarget());
/** walrust becomes the program after its hidden word. Then the tests' own program begins. */
const BECOME = 'if [ "$1" = __become-application ]; then shift 4; fi\n';
/** Notes each signal, and ends with 7 on SIGTERM. */
const NOTES_SIGNALS = `
for name in INT HUP; do trap "echo $name >>notes" $name; done
trap "echo TERM >>notes; exit 7" TERM
echo ready >>notes
while :; do sleep 0.02; done`;

type Child = Bun.Subprocess<"ignore", "pipe", "pipe">;

/** An installation: `walrust` and packages of platforms beside it. */
class Installation {
  readonly folder = tempFolder("npm");
  readonly command = join(this.folder, "node_modules/walrust/bin/walrust.cjs");

  constructor(script = "exit 0") {
    const names = TARGETS.map((target) => [npmName(target), VERSION]);
    const manifest = { name: "walrust", version: VERSION, optionalDependencies: Object.fromEntries(names) };
    mkdirSync(join(this.command, ".."), { recursive: true });
    writeFileSync(join(this.command, "../../package.json"), JSON.stringify(manifest));
    copyFileSync(COMMAND, this.command);
    this.add(NATIVE, script);
  }

  add(name: string, script: string, version = VERSION): void {
    const folder = this.place(name);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "package.json"), JSON.stringify({ name, version }));
    writeFileSync(join(folder, "walrust"), `#!/bin/sh\n${BECOME}${script}\n`);
    chmodSync(join(folder, "walrust"), 0o755);
  }

  place(name: string): string {
    return join(this.folder, "node_modules", name);
  }

  notes(): string[] {
    const path = join(this.folder, "notes");
    return existsSync(path) ? readFileSync(path, "utf8").trimEnd().split("\n") : [];
  }

  /** Starts the command. @param before words for Node.js */
  start(words: readonly string[], before: readonly string[] = []): Child {
    return untilTestEnds(
      Bun.spawn(["node", ...before, this.command, ...words], {
        cwd: this.folder,
        stdio: ["ignore", "pipe", "pipe"],
      }),
    );
  }

  async run(words: readonly string[], before: readonly string[] = []) {
    const child = this.start(words, before);
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    return { exitCode: await child.exited, signal: child.signalCode, stdout, stderr };
  }

  /** Starts a program that notes its signals, and waits until it does. */
  async started(verb = "watch"): Promise<Child> {
    const child = this.start([verb]);
    await waitUntil(() => this.notes().includes("ready"));
    return child;
  }

  /** Writes a module for `node --require` that changes the process before the command runs. */
  preload(text: string): string[] {
    writeFileSync(join(this.folder, "preload.cjs"), text);
    return ["--require", join(this.folder, "preload.cjs")];
  }
}

describe("walrust.cjs passes on", () => {
  test("words, standard streams and the exit code", async () => {
    const installation = new Installation('printf "%s|" "$@"; echo problem >&2; exit 42');
    expect(await installation.run(["list", "a b", "", "--json"])).toEqual({
      exitCode: 42,
      signal: null,
      stdout: "list|a b||--json|",
      stderr: "problem\n",
    });
  });

  test.each(["watch", "list"])("signals to %s, and the exit code after them", async (verb) => {
    const installation = new Installation(NOTES_SIGNALS);
    const child = await installation.started(verb);
    child.kill("SIGINT");
    await waitUntil(() => installation.notes().includes("INT"));
    child.kill("SIGHUP");
    await waitUntil(() => installation.notes().includes("HUP"));
    child.kill("SIGTERM");
    expect(await child.exited).toBe(7);
    expect(installation.notes()).toEqual(["ready", "INT", "HUP", "TERM"]);
  });

  test.each(["KILL", "TERM", "SEGV"])("the death by SIG%s", async (signal) => {
    const { signal: own } = await new Installation(`kill -s ${signal} $$`).run(["list"]);
    expect(own).toBe(`SIG${signal}` as NodeJS.Signals);
  });
});

test("walrust.cjs becomes the executable where Node.js can", async () => {
  const installation = new Installation();
  const preload = installation.preload(
    `process.execve = (file, words, env) => {
      console.log(JSON.stringify({ file, words, same: env === process.env }));
      process.exit(3);
    };`,
  );
  const { exitCode, stdout } = await installation.run(["watch", "a.db"], preload);
  const file = join(installation.place(NATIVE), "walrust");
  expect(exitCode).toBe(3);
  expect(JSON.parse(stdout)).toEqual({ file, words: [file, "watch", "a.db"], same: true });
});

describe("walrust.cjs reports", () => {
  const other = TARGETS.map(npmName).find((name) => name !== NATIVE) ?? "";

  test("a package that was left out", async () => {
    const installation = new Installation();
    rmSync(installation.place(NATIVE), { recursive: true });
    const { exitCode, stderr } = await installation.run(["list"]);
    expect(exitCode).toBe(1);
    expect(stderr).toBe(
      `walrust: The package ${NATIVE} is not installed\n` +
        "  npm leaves it out with --omit=optional. Install again without this option: " +
        `npm install walrust@${VERSION}\n`,
    );
  });

  test("packages that come from another system", async () => {
    const installation = new Installation();
    rmSync(installation.place(NATIVE), { recursive: true });
    installation.add(other, "exit 0");
    const { exitCode, stderr } = await installation.run(["list"]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain(`There is ${other}: this node_modules comes from another system.`);
  });

  test("a platform without a package", async () => {
    const installation = new Installation();
    const preload = installation.preload("Object.defineProperty(process, 'arch', { value: 's390x' });");
    const { exitCode, stderr } = await installation.run(["list"], preload);
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(/^walrust: There is no walrust for \w+-s390x\S*\n {2}walrust runs on linux-x64, /);
  });

  test("two versions", async () => {
    const installation = new Installation();
    installation.add(NATIVE, "exit 0", "1.2.2");
    const { exitCode, stderr } = await installation.run(["list"]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain(`The package ${NATIVE} has version 1.2.2, and walrust has ${VERSION}\n`);
  });

  test("an executable that may not run", async () => {
    const installation = new Installation();
    chmodSync(join(installation.place(NATIVE), "walrust"), 0o644);
    const { exitCode, stderr } = await installation.run(["list"]);
    expect(exitCode).toBe(1);
    expect(stderr).toContain("walrust: Cannot run ");
    expect(stderr).toContain("EACCES");
  });
});

test("walrust.cjs selects the package by the C library of Node.js", async () => {
  const musl = NATIVE.includes("linux") && !NATIVE.endsWith("-musl") ? `${NATIVE}-musl` : null;
  if (musl === null) return;
  const installation = new Installation("echo glibc");
  installation.add(musl, "echo musl");
  const preload = installation.preload(
    `const report = process.report.getReport();
     delete report.header.glibcVersionRuntime;
     process.report.getReport = () => report;`,
  );
  expect((await installation.run(["list"], preload)).stdout).toBe("musl\n");
  expect((await installation.run(["list"])).stdout).toBe("glibc\n");
});
