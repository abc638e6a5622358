/** The checks of a destination, against an S3 server with each fault, and against folders. */
import { afterEach, describe, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, readdirSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Check } from "../../../src/commands/doctor/check.ts";
import { checkDestination, skewOf } from "../../../src/commands/doctor/destination-checks.ts";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { NO_CONDITIONS } from "../../../src/errors.ts";
import { NO_RETRY } from "../../../src/storage/contract/retry.ts";
import { openStore } from "../../../src/storage/open-store.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";
import { S3Server, type S3ServerOptions } from "../../support/servers/s3-server.ts";
import { tempFolder } from "../../support/temp.ts";

const env = systemEnv(SILENT_LOG);
const never = new AbortController().signal;
const servers: S3Server[] = [];

afterEach(() => {
  for (const server of servers.splice(0)) server.stop();
});

async function serverWith(options: Partial<S3ServerOptions> = {}): Promise<S3Server> {
  const server = await S3Server.start(options);
  servers.push(server);
  return server;
}

async function checkedAt(server: S3Server, signal = never): Promise<Check[]> {
  const { accessKeyId, secretAccessKey } = server.options;
  const options = {
    url: "s3://bucket/vm",
    region: "us-east-1",
    endpoint: server.url,
    retry: NO_RETRY,
    conditions: NO_CONDITIONS,
    accessKeyId,
    secretAccessKey,
  };
  const store = openStore(options, env, {});
  try {
    return (await checkDestination(store, env, signal)).all;
  } finally {
    await store.close();
  }
}

async function checkedFolder(folder: string): Promise<Check[]> {
  const store = openStore({ url: `file://${folder}`, region: "", retry: NO_RETRY }, env, {});
  return (await checkDestination(store, env, never)).all;
}

/** The status of each check that was made. */
function statuses(checks: readonly Check[]): Record<string, string> {
  return Object.fromEntries(checks.map(({ check, status }) => [check, status]));
}

function messageOf(checks: readonly Check[], name: string): string {
  return checks.find(({ check, status }) => check === name && status !== "ok")?.message ?? "";
}

describe("checkDestination of a bucket", () => {
  test("makes every check of a sound store, and leaves nothing behind", async () => {
    const server = await serverWith();
    expect(statuses(await checkedAt(server))).toEqual({
      reach: "ok",
      "create-only": "ok",
      multipart: "ok",
      put: "ok",
      clock: "ok",
      range: "ok",
      list: "ok",
      delete: "ok",
    });
    expect([server.objects.size, server.uploads.size]).toEqual([0, 0]);
  });

  test("warns of a store that ignores conditions", async () => {
    const server = await serverWith({ conditionalPut: "ignored" });
    const checks = await checkedAt(server);
    expect(statuses(checks)).toMatchObject({ "create-only": "warning", put: "ok", delete: "ok" });
    expect(messageOf(checks, "create-only")).toContain("not enforced");
    expect(server.objects.size).toBe(0);
  });

  test("names the failure of a store that it cannot use, with its exit code and a hint", async () => {
    const server = await serverWith({ buckets: [] });
    const [check, ...others] = await checkedAt(server);
    expect(others).toEqual([]);
    expect(check).toMatchObject({ check: "reach", status: "failure", exit: 4 });
    expect(check!.hint).not.toBeNull();
  });

  test.each([
    [60_000, "behind the store's"],
    [-60_000, "ahead of the store's"],
  ])("warns of a clock that is %d ms off", async (clockOffsetMs, text) => {
    const checks = await checkedAt(await serverWith({ clockOffsetMs }));
    expect(statuses(checks)).toMatchObject({ clock: "warning", put: "ok" });
    expect(messageOf(checks, "clock")).toContain(text);
  });

  test("names an object that the store refuses to delete", async () => {
    const server = await serverWith({ undeletable: "all" });
    const checks = await checkedAt(server);
    expect(statuses(checks)["delete"]).toBe("warning");
    expect(messageOf(checks, "delete")).toMatch(/\.walrust-probe-[0-9a-f]{16} stays there$/);
  });

  test.each([
    ["put", "put", { kind: "put", skip: 2 }],
    ["get", "range", { kind: "get", skip: 0 }],
    ["list", "list", { kind: "list", skip: 1 }],
  ] as const)("names a refused %s, and leaves nothing behind", async (_, check, { kind, skip }) => {
    const server = await serverWith();
    const answer = { status: 403, code: "AccessDenied" };
    server.inject({ kind, when: "after", answer, skip });
    const checks = await checkedAt(server);
    expect(statuses(checks)[check]).toBe("failure");
    expect(checks.find(({ status }) => status === "failure")).toMatchObject({ exit: 4 });
    expect(server.objects.size).toBe(0);
  });

  test("deletes the probe object when it is stopped halfway", async () => {
    const server = await serverWith();
    const stopping = new AbortController();
    server.inject({ kind: "get", when: "before", answer: "hang" });
    const checked = checkedAt(server, stopping.signal);
    await waitUntil(() => (server.counts.get("get") ?? 0) > 0);
    stopping.abort();
    expect(await checked.catch((error: unknown) => (error as Error).name)).toBe("AbortError");
    expect(server.objects.size).toBe(0);
  });

  test("names probe objects that are left of killed commands", async () => {
    const server = await serverWith();
    const old = { bytes: Buffer.from("x"), headers: {}, etag: '"x"', modifiedMs: Date.now() - 7_200_000 };
    server.objects.set("bucket/vm/.walrust-probe-0123456789abcdef", old as never);
    const checks = await checkedAt(server);
    expect(messageOf(checks, "leftovers")).toContain(".walrust-probe-0123456789abcdef");
    expect(server.objects.size).toBe(1);
  });
});

describe("checkDestination of a folder", () => {
  test("makes every check, and leaves nothing behind", async () => {
    const folder = tempFolder("doctor");
    writeFileSync(join(folder, "other"), "x");
    const names = ["reach", "create-only", "put", "clock", "range", "list", "delete"];
    expect(statuses(await checkedFolder(folder))).toEqual(
      Object.fromEntries(names.map((name) => [name, "ok"])),
    );
    expect(readdirSync(folder)).toEqual(["other"]);
  });

  test("does not create a folder that is missing", async () => {
    const folder = join(tempFolder("doctor"), "none", "deep");
    const checks = await checkedFolder(folder);
    expect(statuses(checks)).toEqual({ reach: "warning" });
    expect(existsSync(join(folder, ".."))).toBe(false);
  });

  test.skipIf(process.geteuid?.() === 0)("names a folder that it may not write into", async () => {
    const folder = join(tempFolder("doctor"), "closed");
    mkdirSync(folder, { mode: 0o500 });
    expect(statuses(await checkedFolder(folder))["put"]).toBe("failure");
    expect(statuses(await checkedFolder(join(folder, "below")))["reach"]).toBe("failure");
    chmodSync(folder, 0o700);
  });

  test("names a file in the place of the folder", async () => {
    const path = join(tempFolder("doctor"), "file");
    writeFileSync(path, "");
    const [check] = await checkedFolder(path);
    expect(check).toMatchObject({ check: "reach", status: "failure", exit: 4 });
  });

  test("names a probe object of an hour ago", async () => {
    const folder = tempFolder("doctor");
    const path = join(folder, ".walrust-probe-0000000000000000");
    writeFileSync(path, "x");
    utimesSync(path, 1, 1);
    expect(messageOf(await checkedFolder(folder), "leftovers")).toContain("1 probe object");
  });
});

test.each([
  [10_000, 10_000, 10_100, 0],
  [9_001, 10_000, 10_100, 0],
  [8_000, 10_000, 10_100, -2_000],
  [11_100, 10_000, 10_100, 0],
  [15_100, 10_000, 10_100, 5_000],
])("skewOf %d, stored from %d to %d, is %d", (modifiedMs, beforeMs, afterMs, skewMs) => {
  expect(skewOf(modifiedMs, beforeMs, afterMs)).toBe(skewMs);
});
