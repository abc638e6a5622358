/**
 * `watch --push-to` and `serve` as a user runs them: SIGKILLs of both sides beside a writer lose and
 * duplicate nothing, a watch works without a bucket, and mistakes end with their exit codes.
 * WALRUST_PUSH_KILLS sets the number of kills (6).
 */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createAppDatabase, judgeAppDatabase } from "../../support/histories/app-rows.ts";
import { AppWriter } from "../../support/processes/app-writer.ts";
import { documentOf, runWalrust, spawnWalrust } from "../../support/processes/binary.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { Authority, writeCertificate } from "../../support/servers/certificates.ts";
import { freePort } from "../../support/servers/free-port.ts";
import { tempFolder } from "../../support/temp.ts";

const KILLS = Number(process.env["WALRUST_PUSH_KILLS"] ?? 6);
const OFTEN = ["--wal-sync-interval", "0.02"];

interface World {
  readonly folder: string;
  readonly database: string;
  readonly replica: string;
  readonly port: number;
  readonly url: string;
}

function newWorld(): World {
  const folder = tempFolder("push");
  const database = join(folder, "app.db");
  createAppDatabase(database);
  mkdirSync(join(folder, "replica"));
  const port = freePort();
  const url = `http://127.0.0.1:${port}`;
  return { folder, database, replica: join(folder, "replica", "app.db"), port, url };
}

async function serve({ replica, port }: World, ...words: string[]) {
  const child = await spawnWalrust(["serve", "--db", replica, "--port", String(port), ...words, "--json"]);
  let text = "";
  const reading = (async () => {
    for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) text += chunk;
  })();
  await waitUntil(() => text.includes('"serving"') || child.exitCode !== null);
  return {
    child,
    kill: async () => {
      child.kill("SIGKILL");
      await child.exited;
    },
    stop: async (): Promise<number> => {
      child.kill("SIGTERM");
      await reading;
      return await child.exited;
    },
    events: () =>
      text
        .split("\n")
        .slice(0, -1)
        .map((line) => JSON.parse(line) as { event: string; txid?: number }),
  };
}

/** The newest row that a reader of the replica sees; 0 without a replica. */
function newestIn({ replica }: World): number {
  if (!existsSync(replica)) return 0;
  const database = new Database(replica, { readonly: true });
  try {
    return (database.query("SELECT max(number) FROM row").values() as [[number | null]])[0][0] ?? 0;
  } finally {
    database.close();
  }
}

test(
  "SIGKILLs of the watch and of the replica lose and duplicate nothing",
  async () => {
    const random = seededRandom(20_266);
    const world = newWorld();
    const writer = new AppWriter(world.database, world.folder);
    const words = [world.database, "-b", `file://${world.folder}/bucket`, ...OFTEN, "--push-to", world.url];
    let server = await serve(world);
    let watch = await WatchProcess.start(words);
    await waitUntil(() => newestIn(world) > 0, 20_000);
    for (let kill = 0; kill < KILLS; kill++) {
      const before = newestIn(world);
      await waitUntil(() => newestIn(world) > before + 20 * random(), 20_000);
      if (random() < 0.5) {
        await watch.kill();
        watch = await WatchProcess.start(words);
      } else {
        await server.kill();
        server = await serve(world);
      }
      // Readers never see an older state than before the kill.
      expect(newestIn(world)).toBeGreaterThanOrEqual(before);
    }
    await writer.stop();
    const newest = writer.newest();
    await waitUntil(() => newestIn(world) >= newest, 20_000);
    expect(await watch.stop()).toBe(0);
    expect(await server.stop()).toBe(0);
    // Every row once, in order, with its content, and SQLite's integrity check.
    expect(judgeAppDatabase(world.replica).get(1)).toBeGreaterThanOrEqual(newest);
  },
  60_000 + KILLS * 5_000,
);

test("a watch pushes without a bucket, and a replica that is made anew gets everything", async () => {
  const world = newWorld();
  const writer = new AppWriter(world.database, world.folder);
  const state = join(world.folder, "state");
  const words = [world.database, ...OFTEN, "--push-to", world.url, "--state-dir", state, "--ack"];
  const first = await serve(world);
  const watch = await WatchProcess.start(words);
  await waitUntil(() => newestIn(world) > 10, 20_000);
  await first.kill();
  const other = { ...world, replica: join(world.folder, "replica", "other.db") };
  const second = await serve(other);
  await writer.stop();
  const newest = writer.newest();
  await waitUntil(() => newestIn(other) >= newest, 20_000);
  const status = ["status", "--state-dir", state, "-b", `file://${state}/push-bucket`];
  const run = await runWalrust([...status, "--json"]);
  const { watches } = documentOf<{ watches: { databases: { replicas: unknown[] }[] }[] }>(run);
  expect(watches[0]?.databases[0]?.replicas).toMatchObject([{ replica: world.url }]);
  const text = await runWalrust(status);
  expect(text.stdout).toContain(`replica ${world.url}: `);
  expect(watch.eventsOf("acknowledged").length).toBeGreaterThan(1);
  expect(existsSync(join(state, "push-bucket", "app", "ltx", "9"))).toBe(true);
  expect(await watch.stop()).toBe(0);
  expect(await second.stop()).toBe(0);
  expect(
    second
      .events()
      .map(({ event }) => event)
      .slice(0, 2),
  ).toEqual(["serving", "bootstrapped"]);
  expect(judgeAppDatabase(other.replica).get(1)).toBeGreaterThanOrEqual(newest);
});

test("a token protects a replica, and a watch without it goes on", async () => {
  const world = newWorld();
  const token = join(world.folder, "token");
  writeFileSync(token, "0123456789abcdef0123456789abcdef\n");
  const server = await serve(world, "--token-file", token);
  const bucket = ["-b", `file://${world.folder}/bucket`];
  const words = [world.database, ...bucket, ...OFTEN, "--push-to", world.url];
  const without = await WatchProcess.start(words);
  await without.waitForTxid(1);
  await waitUntil(() => without.stderr.includes("refuses the token"), 20_000);
  expect(await without.stop()).toBe(0);
  expect(existsSync(world.replica)).toBe(false);
  const watch = await WatchProcess.start([...words, "--push-token-file", token]);
  await waitUntil(() => existsSync(world.replica), 20_000);
  expect(await watch.stop()).toBe(0);
  expect(await server.stop()).toBe(0);
  expect(without.stderr + watch.stderr).not.toContain("0123456789abcdef");
});

test("a watch pushes over TLS to a server with a private authority", async () => {
  const world = newWorld();
  const authority = new Authority();
  const { cert, key } = writeCertificate(authority.server());
  const server = await serve(world, "--tls-cert", cert, "--tls-key", key);
  const url = world.url.replace("http:", "https:");
  const words = [world.database, "-b", `file://${world.folder}/bucket`, ...OFTEN, "--push-to", url];
  const without = await WatchProcess.start(words);
  await waitUntil(() => without.stderr.includes("cannot be verified"), 20_000);
  expect(await without.stop()).toBe(0);
  expect(existsSync(world.replica)).toBe(false);
  const watch = await WatchProcess.start([...words, "--push-ca-file", authority.path]);
  await waitUntil(() => existsSync(world.replica), 20_000);
  expect(await watch.stop()).toBe(0);
  expect(await server.stop()).toBe(0);
});

const MISTAKES: readonly (readonly [words: readonly string[], code: number, said: string])[] = [
  [["serve"], 2, "No place for replicas"],
  [["serve", "--db", "r.db", "--dir", "."], 2, "both given"],
  [["serve", "--dir", "none"], 2, "no folder"],
  [["serve", "--db", "r.db", "--address", "0.0.0.0"], 2, "--token-file"],
  [["serve", "--db", "r.db", "--address", "::"], 2, "--token-file"],
  [["serve", "--db", "r.db", "--tls-cert", "c.pem"], 2, "belong together"],
  [["serve", "--db", "r.db", "--port", "70000"], 2, "--port"],
  [["serve", "--db", "app.db"], 3, "no replica that walrust serve has made"],
  [["watch", "app.db", "-b", "file:///nowhere", "--push-to", "replica:8080"], 2, "--push-to"],
  [["watch", "app.db", "-b", "file:///nowhere", "--ack"], 2, "no push replica"],
];

test.each(MISTAKES)("walrust %p ends with %d", async (words, code, said) => {
  const { folder } = newWorld();
  const run = await runWalrust(words, { cwd: folder });
  expect([run.exitCode, run.stdout]).toEqual([code, ""]);
  expect(run.stderr).toContain(said);
});
