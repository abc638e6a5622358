/**
 * SIGKILL in the middle of an upload: of an increment in one request, and of a snapshot in parts. The bucket
 * holds no part of the object afterwards, and the next watch uploads the captured file.
 */

import { Database } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import { join } from "node:path";
import { commitRow, createAppDatabase } from "../../support/histories/app-rows.ts";
import { assertSameBytes, checkpoint } from "../../support/histories/database-files.ts";
import { mustWalrust } from "../../support/processes/binary.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { tempFolder } from "../../support/temp.ts";

let server: S3Server | null = null;

afterEach(async () => {
  server?.stop();
  server = null;
});

/** The objects below a level, by key. */
function keysOf(store: S3Server, level: string): string[] {
  return [...store.objects.keys()].filter((key) => key.includes(`/app/${level}/`));
}

/** Number of unfinished uploads of the database. */
function unfinished(store: S3Server): number {
  return [...store.uploads.values()].filter(({ key }) => key.includes("/app/")).length;
}

/** Whether a part of the snapshot was received. The parts of the create-only probe are small. */
function isPartSent(store: S3Server): boolean {
  return Number(store.lastHeaders.get("putPart")?.["content-length"] ?? 0) > 1e6;
}

/** A database with rows of random content. */
function createDatabase(path: string, ballastRows: number): Database {
  createAppDatabase(path);
  const app = new Database(path);
  app.run("PRAGMA synchronous = OFF");
  app.run("CREATE TABLE ballast (body BLOB)");
  app.transaction(() => {
    for (let row = 0; row < ballastRows; row++) app.run("INSERT INTO ballast VALUES (randomblob(4000))");
  })();
  return app;
}

test.each([
  ["an increment in one request", "put", "0000", 0],
  ["a snapshot in parts", "putPart", "0009", 6_000],
] as const)(
  "SIGKILL during the upload of %s leaves nothing of the object",
  async (_, kind, level, ballastRows) => {
    const store = await S3Server.start();
    server = store;
    const folder = tempFolder("killed-upload");
    const path = join(folder, "app.db");
    const app = createDatabase(path, ballastRows);
    const words = ["-b", "s3://bucket/vm", "--endpoint", store.url];
    const options = { env: { AWS_ACCESS_KEY_ID: "test", AWS_SECRET_ACCESS_KEY: "testsecret" } };
    store.inject({ kind, when: "before", answer: "hang", key: new RegExp(`/${level}/`), count: 1_000 });
    const first = await WatchProcess.start([path, ...words], options);
    if (level === "0000") {
      await waitUntil(() => store.objects.has("bucket/vm/app/manifest.json"), 20_000);
      // The object of the probe for create-only writes comes and goes meanwhile.
      const own = (): string[] => [...store.objects.keys()].filter((key) => key.startsWith("bucket/vm/app/"));
      const { length } = own();
      const before = store.count("put");
      commitRow(app, 1, 1);
      await waitUntil(() => store.count("put") > before, 20_000);
      expect(own()).toHaveLength(length);
    } else await waitUntil(() => isPartSent(store), 20_000);
    await first.kill();
    expect(keysOf(store, level)).toEqual([]);

    store.clearFaults();
    const second = await WatchProcess.start([path, ...words], options);
    await second.waitFor("the upload", () => keysOf(store, level).length > 0);
    commitRow(app, 1, 2);
    app.close(true);
    expect(await second.stop()).toBe(0);
    expect([second.eventsOf("re-anchored"), unfinished(store)]).toEqual([[], 0]);
    const restored = join(folder, "restored.db");
    await mustWalrust(["restore", "app", "-o", restored, ...words], options);
    checkpoint(path);
    assertSameBytes(restored, path);
  },
);
