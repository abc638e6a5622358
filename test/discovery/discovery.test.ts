/**
 * The databases of a watch, and what is told of those that cannot be watched: named and missing, colliding,
 * in folders that cannot be looked into. And that a watch shows them and takes them in.
 */
import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { WatchTargets } from "../../src/discovery/discovery.ts";
import { parseConfigFile } from "../../src/config/config-file.ts";
import { parseWords } from "../../src/config/settings/parse-options.ts";
import { hasCode } from "../../src/errors.ts";
import { LocalPlaces } from "../../src/local/places.ts";
import type { Found } from "../../src/replication/watch/unwatchable-status.ts";
import { WatchProcess } from "../support/processes/watch-process.ts";
import { type LoggedLine, recordingEnv } from "../support/recording-log.ts";
import { tenants } from "../support/runs/fleet-run.ts";
import { fileDestination, s3Destination, sharedGateway } from "../support/servers/destinations.ts";
import { testWith } from "../support/servers/peers.ts";
import { tempFolder } from "../support/temp.ts";

/** A folder with files in it that have something in them. */
function folderWith(...paths: string[]): string {
  const folder = tempFolder("targets");
  for (const path of paths) {
    mkdirSync(join(folder, path, ".."), { recursive: true });
    writeFileSync(join(folder, path), "x");
  }
  return folder;
}

/** The targets of a watch over the [[databases]] of a file in `folder`. */
function targetsOf(folder: string, ...databases: string[]): { targets: WatchTargets; lines: LoggedLine[] } {
  const toml = databases.map((keys) => `[[databases]]\n${keys}\n`).join("");
  const file = parseConfigFile(toml, join(folder, "walrust.toml"), "walrust.toml", {});
  const { env, lines } = recordingEnv();
  const sources = { file, environment: {}, words: parseWords([], []) };
  return { targets: new WatchTargets(sources, [], "s3://bucket/vm1", LocalPlaces.standard(), env), lines };
}

function shownOf({ targets, leftOut }: Found): { watched: string[]; leftOut: [string, boolean][] } {
  return {
    watched: targets.map(({ name }) => name),
    leftOut: leftOut.map(({ name, isMissing }) => [name, isMissing]),
  };
}

describe("WatchTargets", () => {
  test("looks on for what is named and missing, and finds it when it is there", async () => {
    const folder = folderWith("b.db");
    const { targets } = targetsOf(folder, 'path = "a.db"\nprefix = "eu"', 'path = "b.db"');
    const first = await targets.first();
    expect([targets.isNamedOnly, first.missing.length]).toEqual([true, 1]);
    expect(shownOf(first)).toEqual({ watched: ["b"], leftOut: [["eu/a", true]] });
    expect(shownOf(await targets.again())).toEqual({ watched: ["b"], leftOut: [["eu/a", true]] });
    writeFileSync(join(folder, "a.db"), "x");
    expect(shownOf(await targets.again())).toEqual({ watched: ["eu/a", "b"], leftOut: [] });
  });

  test("resolves what is named again with each look", async () => {
    const folder = folderWith("releases/1/app.db", "releases/2/app.db");
    const link = join(folder, "current");
    symlinkSync("releases/1", link);
    const { targets } = targetsOf(folder, 'path = "current/app.db"');
    const pathsOf = ({ targets: found }: Found): string[] => found.map(({ path }) => path);
    expect(pathsOf(await targets.first())).toEqual([join(folder, "releases/1/app.db")]);
    rmSync(link);
    const dangling = await targets.again();
    expect(dangling).toMatchObject({ targets: [], leftOut: [{ path: join(folder, "releases/1/app.db") }] });
    symlinkSync("releases/2", link);
    expect(pathsOf(await targets.again())).toEqual([join(folder, "releases/2/app.db")]);
  });

  test("fails when all that is named is missing, unless there is a glob", async () => {
    const folder = folderWith("kept.txt");
    const [a, b] = ['path = "a.db"', 'path = "b.db"'];
    const failure = await targetsOf(folder, a, b)
      .targets.first()
      .catch((error: unknown) => error);
    expect(hasCode(failure, "database") && failure.message).toContain("a.db");
    const beside = targetsOf(folder, a, 'path = "*/x.db"\nallow_empty = true').targets;
    expect(shownOf(await beside.first())).toEqual({ watched: [], leftOut: [["a", true]] });
    expect(beside.isNamedOnly).toBe(false);
  });

  test("tells a missing one by the path it is watched under", async () => {
    const folder = folderWith("real/a.db", "b.db");
    symlinkSync(join(folder, "real/a.db"), join(folder, "link.db"));
    const { targets } = targetsOf(folder, 'path = "link.db"', 'path = "b.db"');
    const [watched] = (await targets.first()).targets;
    rmSync(join(folder, "real/a.db"));
    const { leftOut } = await targets.again();
    expect(leftOut.map(({ path }) => path)).toEqual([watched!.path]);
  });

  test("tells what collides later, and says it once", async () => {
    const folder = folderWith("one/app.db");
    const { targets, lines } = targetsOf(folder, 'path = "*/app.db"');
    await targets.first();
    mkdirSync(join(folder, "two"));
    linkSync(join(folder, "one/app.db"), join(folder, "two/app.db"));
    for (let look = 0; look < 2; look++) {
      expect(shownOf(await targets.again())).toEqual({ watched: ["one/app"], leftOut: [["two/app", false]] });
    }
    expect(lines.map(({ level }) => level)).toEqual(["warn"]);
    rmSync(join(folder, "two"), { recursive: true });
    expect(shownOf(await targets.again()).leftOut).toEqual([]);
  });

  test.skipIf(process.getuid?.() === 0)("tells a folder that cannot be looked into", async () => {
    const folder = folderWith("one/app.db", "two/app.db");
    const { targets } = targetsOf(folder, 'path = "*/app.db"');
    await targets.first();
    chmodSync(join(folder, "two"), 0);
    const { watched, leftOut } = shownOf(await targets.again());
    chmodSync(join(folder, "two"), 0o755);
    expect([watched.sort(), leftOut]).toEqual([["one/app", "two/app"], [["two", false]]]);
  });
});

test("watch shows a named database that is missing, and takes it in when it is restored", async () => {
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
  expect(watch.stderr.split("not watched until it is there").length).toBe(2);
  expect(await watch.stop()).toBe(0);
}, 30_000);

testWith("versitygw")(
  "watch takes a named database in beside a glob when its bucket is made",
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

/** A port that nobody has at this moment. */
async function freePort(): Promise<number> {
  const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response() });
  const { port } = server;
  await server.stop(true);
  return port!;
}
