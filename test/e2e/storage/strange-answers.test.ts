/**
 * The executable behind a server that is not the store, or that cuts answers short. Each verb ends with 4 and
 * names what to check; no backup is reported as damaged.
 */
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import { mustWalrust, type Run, runWalrust } from "../../support/processes/binary.ts";
import type { Answer } from "../../support/servers/s3-answers.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

const KEYS = { AWS_ACCESS_KEY_ID: "test", AWS_SECRET_ACCESS_KEY: "testsecret" };
let server: S3Server;
let folder: string;
let database: string;

beforeEach(async () => {
  server = await S3Server.start();
  folder = tempFolder("strange");
  database = join(folder, "app.db");
  createAppDatabase(database);
  await mustWalrust(["snapshot", database, ...destination()], { env: KEYS });
});

afterEach(() => server.stop());

function destination(endpoint = server.url): string[] {
  return ["-b", "s3://bucket/vm", "--endpoint", endpoint];
}

function verbs(endpoint?: string): Promise<Run[]> {
  const calls = [
    ["list"],
    ["verify", "app"],
    ["verify", "--all", "--read-data"],
    ["restore", "app", "-o", join(folder, "restored.db")],
    ["explain", database],
    ["snapshot", database],
  ];
  const run = (words: string[]) => runWalrust([...words, ...destination(endpoint)], { env: KEYS });
  return Promise.all(calls.map(run));
}

async function strangeServer(answer: Answer): Promise<{ url: string; stop(): void }> {
  const strange = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: () => new Response(String(answer.body), { status: answer.status, headers: answer.headers ?? {} }),
  });
  return { url: `http://127.0.0.1:${strange.port}`, stop: () => void strange.stop(true) };
}

describe("a server that answers everything with", () => {
  const html = { "content-type": "text/html; charset=utf-8" };
  const table: [string, Answer][] = [
    ["a page and 200", { status: 200, headers: html, body: "<!doctype html><p>Sign in</p>" }],
    ["a page and 404", { status: 404, headers: html, body: "<!doctype html><p>Not found</p>" }],
    ["a page and an ETag", { status: 200, headers: { ...html, etag: '"abc"' }, body: "<html></html>" }],
  ];
  for (const [label, answer] of table) {
    test(`${label}: every verb ends with 4 and advises to check the endpoint`, async () => {
      const strange = await strangeServer(answer);
      try {
        for (const { exitCode, stdout, stderr } of await verbs(strange.url)) {
          const said = stdout + stderr;
          expect([said, exitCode]).toEqual([said, 4]);
          expect(said).toContain("check the endpoint");
          expect(said).not.toContain("damaged");
        }
      } finally {
        strange.stop();
      }
    });
  }
});

test("a truncated answer is a failure of the storage, not damage", async () => {
  const [path] = [...server.objects.keys()].filter((key) => key.endsWith(".ltx"));
  const { bytes, headers, etag } = server.objects.get(path!)!;
  const short = { ...headers, etag, "last-modified": new Date(0).toUTCString() };
  server.inject({
    kind: "get",
    when: "before",
    count: 1000,
    answer: { instead: { status: 200, headers: short, body: bytes.subarray(0, 200) } },
  });
  const output = join(folder, "restored.db");
  for (const words of [
    ["restore", "app", "-o", output],
    ["verify", "app", "--read-data"],
  ]) {
    const { exitCode, stdout, stderr } = await runWalrust([...words, ...destination()], { env: KEYS });
    expect([words[0], exitCode]).toEqual([words[0], 4]);
    expect(stdout + stderr).toContain(
      `the answer has 200 bytes, its head and the listing say ${bytes.length}`,
    );
    expect(stdout + stderr).not.toContain("damaged");
  }
});

test("the error names a bucket in the endpoint", async () => {
  for (const { exitCode, stdout, stderr } of await verbs(`${server.url}/bucket`)) {
    const said = stdout + stderr;
    expect([said, exitCode]).toEqual([said, 4]);
    expect(said).toContain("it names the bucket bucket too");
  }
});
