/** Keys of the store that change under a running watch: in files of their own, and by `walrust reload`. */
import { afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { documentOf, runWalrust } from "../../support/processes/binary.ts";
import { closeApplications, configured, serverSettings } from "../../support/runs/configured-watch.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(30_000);

let server: S3Server;
beforeEach(async () => {
  server = await S3Server.start();
});
afterEach(async () => {
  await closeApplications();
  await server.stop();
});

const secrets = tempFolder("secrets");

test("a watch goes on with a rotated secret_access_key_file, without a failure or a restart", async () => {
  const path = join(secrets, "secret");
  writeFileSync(path, server.options.secretAccessKey, { mode: 0o600 });
  const { "s3.secret_access_key": _, ...rest } = serverSettings(server);
  const settings = { ...rest, "s3.secret_access_key_file": `"${path}"`, "sync.wal_sync_interval": "0.05" };
  const world = await configured(settings);
  const watch = await world.watch();
  await watch.waitForTxid(1);
  writeFileSync(path, "second-secret", { mode: 0o600 });
  server.options.secretAccessKey = "second-secret";
  await world.commit();
  await watch.waitForTxid(2);
  expect(watch.eventsOf("failed")).toEqual([]);
  expect(watch.stderr).toContain("the keys of the store have changed");
  expect(watch.stderr).not.toContain("second-secret");
  expect(await watch.stop()).toBe(0);
});

test("reload takes new keys of the same store at once, and none of another store", async () => {
  const settings = { ...serverSettings(server), "sync.wal_sync_interval": "0.05" };
  const world = await configured(settings);
  const watch = await world.watch();
  await watch.waitForTxid(1);
  const path = join(world.folder, "walrust.toml");
  const before = readFileSync(path, "utf8");
  const secret = server.options.secretAccessKey;
  const reloaded = async (text: string) => {
    writeFileSync(path, text, { mode: 0o600 });
    const run = await runWalrust(["reload", "--json", "-b", "s3://bucket/vm", "--endpoint", server.url], {
      env: { AWS_ACCESS_KEY_ID: "x", AWS_SECRET_ACCESS_KEY: "x" },
    });
    type Watches = { watches: { pid: number; changed: string[]; restart: string[] }[] };
    const { watches } = documentOf<Watches>(run);
    const { changed, restart } = watches.find(({ pid }) => pid === watch.pid)!;
    return { changed, restart };
  };
  const elsewhere = before
    .replace(`"${secret}"`, '"of-another-store"')
    .replace('"s3://bucket/vm"', '"s3://other/vm"');
  expect(await reloaded(elsewhere)).toEqual({
    changed: [],
    restart: ["s3.bucket", "s3.secret_access_key"],
  });
  await world.commit();
  await watch.waitForTxid(2);
  server.options.secretAccessKey = "new-secret";
  expect(await reloaded(before.replace(`"${secret}"`, '"new-secret"'))).toEqual({
    changed: ["s3.secret_access_key"],
    restart: [],
  });
  await world.commit();
  await watch.waitForTxid(3);
  expect(watch.eventsOf("failed")).toEqual([]);
  expect(await watch.stop()).toBe(0);
});
