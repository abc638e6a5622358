/** Standard output that fails, closes early or drains slowly: the exit code reports a lost result. */
import { expect, test } from "bun:test";
import { closeSync, constants, existsSync, openSync, readFileSync, readSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import { assertNoSlip, toldFailure } from "../../support/oracles/run-checks.ts";
import { cleanEnvironment, type Run, untilTestEnds, walrustBinary } from "../../support/processes/binary.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";
import { tempFolder } from "../../support/temp.ts";

/** Runs the executable in a shell, which redirects its output. */
async function runInShell(command: string, words: readonly string[]): Promise<Run> {
  const child = Bun.spawn(["bash", "-c", command, "bash", await walrustBinary(), ...words], {
    env: cleanEnvironment(),
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { exitCode: await child.exited, stdout, stderr };
}

test("a result that cannot be written ends with 1, whatever the verb did", async () => {
  for (const words of [["pragma"], ["pragma", "--json"], ["--version"], ["list", "--help"]]) {
    const run = await runInShell('"$@" > /dev/full', words);
    assertNoSlip(run);
    expect([words, run.exitCode]).toEqual([words, 1]);
    expect(toldFailure(run)).toMatchObject({ message: "Cannot write to stdout: ENOSPC" });
  }
});

test("a reader that closes the pipe early causes no failure", async () => {
  const run = await runInShell('"$@" | head -c 5; exit $' + "{PIPESTATUS[0]}", ["pragma"]);
  expect([run.exitCode, run.stdout.length, run.stderr]).toEqual([0, 5, ""]);
});

test("a document larger than a pipe reaches a slow reader whole", async () => {
  const folder = tempFolder("long");
  const path = join(folder, "app.db");
  createAppDatabase(path);
  const databases = Array.from({ length: 120 }, (_, index) => join(folder, `some-tenant-${index}.db`));
  for (const copy of databases) writeFileSync(copy, readFileSync(path));
  const words = ["explain", ...databases, "-b", `file://${folder}/bucket`, "--json"];
  const { exitCode, stdout } = await runInShell('"$@" | { read -t 0.3 < <(:); sleep 0.3; cat; }', words);
  expect(exitCode).toBe(0);
  expect(stdout.length).toBeGreaterThan(100_000);
  expect((JSON.parse(stdout) as { databases: unknown[] }).databases.length).toBe(120);
});

test("a signal stops a verb whose result nobody reads", async () => {
  const folder = tempFolder("unread");
  createAppDatabase(join(folder, "app.db"));
  const databases = Array.from({ length: 120 }, (_, index) => join(folder, `some-tenant-${index}.db`));
  for (const copy of databases) writeFileSync(copy, readFileSync(join(folder, "app.db")));
  const fifo = join(folder, "fifo");
  const command = `mkfifo ${fifo}; exec 3<>${fifo}; exec "$@" > ${fifo}`;
  const words = ["explain", ...databases, "-b", `file://${folder}/bucket`, "--json"];
  const child = untilTestEnds(
    Bun.spawn(["bash", "-c", command, "bash", await walrustBinary(), ...words], {
      env: cleanEnvironment(),
      stdio: ["ignore", "ignore", "ignore"],
    }),
  );
  await waitUntil(() => existsSync(fifo));
  const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    await waitUntil(() => isReadable(reader));
    child.kill("SIGTERM");
    expect(await child.exited).toBe(143);
  } finally {
    closeSync(reader);
  }
});

/** Whether a pipe has a byte to read; consumes that byte. */
function isReadable(fd: number): boolean {
  try {
    return readSync(fd, new Uint8Array(1)) > 0;
  } catch {
    // EAGAIN: the pipe is still empty.
    return false;
  }
}
