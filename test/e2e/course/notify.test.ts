/** The built executable under a service manager (`Type=notify`): what it tells, and when. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { NotifyListener } from "../../support/course/notify-listener.ts";
import { eventually } from "../../support/eventually.ts";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { configured, folderSettings } from "../../support/runs/configured-watch.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

let server: S3Server;

beforeAll(async () => {
  server = await S3Server.start();
});
afterAll(() => server.stop());

const notifyTest = test.skipIf(!NotifyListener.isAvailable);

function newListener(): Promise<NotifyListener> {
  return NotifyListener.start(join(tempFolder("notify"), "socket"));
}

notifyTest(
  "a watch is ready when its databases are captured, lives while its loop turns, and says its end",
  async () => {
    const listener = await newListener();
    const path = join(tempFolder("notify"), "app.db");
    createAppDatabase(path);
    const env = { NOTIFY_SOCKET: listener.address, WATCHDOG_USEC: "400000" };
    const watch = await WatchProcess.start([path, ...fileDestination().words], { env });
    await listener.received("READY=1");
    await watch.waitFor("watching", () => watch.eventsOf("watching").length > 0);
    const isStatus = (line: string): boolean => /^STATUS=1 database replicated; up to [\d.]+ s/.test(line);
    expect(listener.lines.some(isStatus)).toBe(true);
    await listener.received("WATCHDOG=1");
    process.kill(watch.pid, "SIGSTOP");
    process.kill(watch.pid, "SIGCONT");
    listener.lines.length = 0;
    await listener.received("WATCHDOG=1");
    expect(await watch.stop()).toBe(0);
    await listener.received("STOPPING=1");
  },
);

notifyTest("a watch whose store hangs asks for time, and is not ready", async () => {
  server.reset();
  const listener = await newListener();
  const path = join(tempFolder("notify"), "app.db");
  createAppDatabase(path);
  server.inject({ kind: "list", when: "before", answer: "hang", count: 1e6 });
  const { accessKeyId, secretAccessKey } = server.options;
  const env = {
    NOTIFY_SOCKET: listener.address,
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
  };
  const watch = await WatchProcess.start([path, "-b", "s3://bucket/vm", "--endpoint", server.url], { env });
  await listener.received("EXTEND_TIMEOUT_USEC=");
  await eventually("the first request", async () => server.count("list") > 0);
  expect(listener.lines).not.toContain("READY=1");
  expect(await watch.stop()).toBe(0);
  await listener.received("STOPPING=1");
  expect(listener.lines).not.toContain("READY=1");
});

notifyTest("a reload is announced with its time, and followed by READY", async () => {
  const listener = await newListener();
  const { settings } = folderSettings();
  const env = { NOTIFY_SOCKET: listener.address };
  const world = await configured(settings, { env });
  const watch = await world.watch();
  await listener.received("READY=1");
  listener.lines.length = 0;
  watch.signal("SIGHUP");
  await listener.received("READY=1");
  const [reloading, time, ready] = listener.lines;
  expect([reloading, ready]).toEqual(["RELOADING=1", "READY=1"]);
  expect(time).toMatch(/^MONOTONIC_USEC=\d+$/);
  expect(await watch.stop()).toBe(0);
});
