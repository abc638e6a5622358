/** The names that the shells ask for: from S3 and folders, in time, and without a message. */
import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import { mustWalrust, runWalrust, type Variables } from "../../support/processes/binary.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { completionFolder, makeBackup } from "../../support/shells/completion-cases.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

const KEYS = { AWS_ACCESS_KEY_ID: "test", AWS_SECRET_ACCESS_KEY: "testsecret", AWS_REGION: "us-east-1" };
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

/** The answer to a shell: each name is a line. */
async function namesFor(
  words: readonly string[],
  options: { cwd?: string; env?: Variables } = {},
): Promise<{ names: string[]; exitCode: number; stderr: string }> {
  const run = await runWalrust(["__complete-names", ...words], options);
  return { ...run, names: run.stdout.split("\n").filter((line) => line !== "") };
}

test("names come from S3, with the endpoint and the prefix of the line", async () => {
  const server = await S3Server.start();
  cleanups.push(() => server.stop());
  const folder = tempFolder("names-s3");
  createAppDatabase(join(folder, "shop.db"));
  const words = ["-b", "s3://bucket/vm1", "--endpoint", server.url];
  await mustWalrust(["snapshot", join(folder, "shop.db"), ...words], { env: KEYS });
  expect(await namesFor(["", "restore", ...words], { env: KEYS })).toEqual(
    expect.objectContaining({ names: ["shop"], exitCode: 0, stderr: "" }),
  );
  const elsewhere = ["-b", "s3://bucket/vm2", "--endpoint", server.url];
  expect((await namesFor(["", "restore", ...elsewhere], { env: KEYS })).names).toEqual([]);
});

test("a store that never answers gives no names, within some 1.5 s", async () => {
  const server: Server = createServer((socket) => {
    socket.on("error", () => {});
    socket.resume();
    cleanups.push(() => socket.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(() => server.close());
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const beganMs = performance.now();
  const answer = await namesFor(["", "list", "-b", "s3://bucket", "--endpoint", endpoint], { env: KEYS });
  // Far below the patience of a verb, on a busy machine too.
  expect(performance.now() - beganMs).toBeLessThan(10_000);
  expect([answer.names, answer.stderr]).toEqual([[], ""]);
});

test.each([
  ["no destination", ["", "restore"]],
  ["an unknown verb", ["", "nonsense"]],
  ["no words", []],
  ["an unknown flag", ["", "restore", "--nonsense", "-b", "file:///tmp"]],
  ["an unknown last flag", ["", "restore", "-b", "file:///tmp", "--nonsense"]],
  ["a configuration that is missing", ["", "restore", "--config", "missing.toml"]],
  ["a folder that is missing", ["", "restore", "-b", "file:///no/such/folder"]],
  ["a destination that is none", ["", "restore", "-b", "nonsense"]],
  ["keys that are incomplete", ["", "restore", "-b", "s3://bucket"]],
])("%s gives no names and no message", async (_what, words) => {
  const env = { AWS_ACCESS_KEY_ID: "half" };
  const { names, stderr } = await namesFor(words, { cwd: tempFolder("none"), env });
  expect([names, stderr]).toEqual([[], ""]);
});

test("the value that a last flag waits for is left out of the line", async () => {
  const cwd = completionFolder();
  expect((await namesFor(["tenants/r", "restore", "--all", "--prefix"], { cwd })).names).toEqual([
    "tenants/romneys/app",
  ]);
  expect((await namesFor(["s", "prune"], { cwd })).names).toEqual(["shop"]);
});

test("a name that cannot be shown as it is, is left out", async () => {
  const cwd = completionFolder();
  makeBackup(cwd, "odd", "\u202eevil");
  makeBackup(cwd, "odd", "plain");
  expect((await namesFor(["", "list", "-b", `file://${cwd}/odd`])).names).toEqual(["plain"]);
});
