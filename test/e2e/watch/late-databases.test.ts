/**
 * Databases that become watchable after the start of `watch`: a named one that is missing, and one whose
 * bucket is missing. The watch shows them as failing and replicates them as soon as possible.
 */
import { expect, test } from "bun:test";
import { copyFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { mustWalrust } from "../../support/processes/binary.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { tenants } from "../../support/runs/fleet-run.ts";
import { fileDestination, s3Destination, sharedGateway } from "../../support/servers/destinations.ts";
import { testWith } from "../../support/servers/peers.ts";
import { tempFolder } from "../../support/temp.ts";

test("watch shows a named database that is missing, and replicates it once it is restored", async () => {
  const folder = tempFolder("late");
  const [late, there] = [join(folder, "late.db"), join(folder, "there.db")];
  const [template] = await tenants(tempFolder("template"), "one");
  copyFileSync(template!.path, there);
  const port = await freePort();
  const words = [...fileDestination().words, "--metrics-port", String(port)];
  const watch = await WatchProcess.start([late, there, ...words]);
  await watch.waitForUploads(1);
  const health = async (): Promise<[number, Record<string, { status: string; health: string }>]> => {
    const response = await fetch(`http://127.0.0.1:${port}/health`);
    return [response.status, ((await response.json()) as never)["databases"]];
  };
  expect((await health())[1]).toMatchObject({
    late: { status: "failing", health: "degraded" },
    there: { status: "syncing", health: "healthy" },
  });
  expect(watch.eventsOf("stopped")).toMatchObject([{ database: late, code: "database" }]);
  copyFileSync(template!.path, `${late}.new`);
  renameSync(`${late}.new`, late);
  await watch.waitForTxid(1, "late");
  expect(watch.eventsOf("watching").map(({ database }) => database)).toEqual(["there", "late"]);
  await watch.waitFor("its health", () => watch.uploads("late").length > 0);
  expect((await health())[1]).toMatchObject({ late: { status: "syncing", health: "healthy" } });
  expect(watch.stderr.split("watched as soon as it exists").length).toBe(2);
  expect(await watch.stop()).toBe(0);
}, 30_000);

test("the end of watch captures a database that a glob has not found yet", async () => {
  const folder = tempFolder("new");
  const [, two] = await tenants(folder, "one", "two");
  renameSync(two!.path, `${two!.path}.new`);
  const { words } = fileDestination();
  const watch = await WatchProcess.start([join(folder, "*/app.db"), ...words]);
  await watch.waitForUploads(1);
  renameSync(`${two!.path}.new`, two!.path);
  expect(await watch.stop()).toBe(0);
  expect(watch.eventsOf("watching").map(({ database }) => database)).toEqual(["one/app", "two/app"]);
  const output = join(folder, "restored.db");
  await mustWalrust(["restore", "two/app", "-o", output, ...words]);
}, 30_000);

testWith("versitygw")(
  "watch replicates a named database beside a glob once its bucket exists",
  async () => {
    const gateway = await sharedGateway();
    const { words, env } = s3Destination(gateway);
    const options = words.map((word) => word.replace("s3://bucket-", "s3://later-"));
    const bucket = new URL(options[1]!).host;
    const folder = tempFolder("later");
    await tenants(folder, "found");
    const [one] = await tenants(tempFolder("named"), "one");
    const watch = await WatchProcess.start([one!.path, join(folder, "*/app.db"), ...options], { env });
    await watch.waitFor("the refusal", () => watch.eventsOf("stopped").length === 1);
    await watch.waitFor("the failure of the find", () => watch.eventsOf("failed").length === 1);
    expect(watch.eventsOf("stopped")[0]).toMatchObject({ database: "app", code: "missing-bucket" });
    gateway.createBucket(bucket);
    await watch.waitForTxid(1, "app");
    await watch.waitForTxid(1, "found/app");
    expect(watch.eventsOf("stopped").length).toBe(1);
    expect(await watch.stop()).toBe(0);
  },
  60_000,
);

/** A port without a listener at this moment. */
async function freePort(): Promise<number> {
  const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
  const { port } = server;
  await server.stop(true);
  return port!;
}
