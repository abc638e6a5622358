/**
 * The local files of the executable: their modes, the places that all verbs of one user share, and the result
 * for a tool that copies the folder of a database.
 */
import { Database } from "bun:sqlite";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
} from "node:fs";
import { join } from "node:path";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import { commitRow, createAppDatabase } from "../../support/histories/app-rows.ts";
import {
  canChangeUser,
  documentOf,
  mustWalrust,
  runWalrust,
  walrustBinary,
} from "../../support/processes/binary.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

interface World {
  readonly folder: string;
  readonly path: string;
  readonly url: string;
  readonly home: string;
  readonly environment: { readonly env: Readonly<Record<string, string>> };
}

/** A database in its own folder, with places for state and sockets that the test controls. */
function world(folderMode = 0o755): World {
  const folder = join(tempFolder("data"), "data");
  mkdirSync(folder);
  chmodSync(folder, folderMode);
  const path = join(folder, "app.db");
  createAppDatabase(path);
  const [home, runtime] = [tempFolder("home"), tempFolder("run")];
  const environment = { env: { STATE_DIRECTORY: join(home, "state"), XDG_RUNTIME_DIR: runtime } };
  return { folder, path, url: `file://${tempFolder("bucket")}`, home: join(home, "state"), environment };
}

async function watched({ path, url, environment }: World, ...words: string[]): Promise<WatchProcess> {
  const watch = await WatchProcess.start(
    [path, "-b", url, "--wal-sync-interval", "0.01", ...words],
    environment,
  );
  await watch.waitForTxid(1, "app");
  return watch;
}

function everythingIn(folder: string): string[] {
  return [
    folder,
    ...(readdirSync(folder, { recursive: true }) as string[]).map((name) => join(folder, name)),
  ];
}

describe("local files", () => {
  test("a tool that copies a database's folder meets no socket beside a watch", async () => {
    const place = world();
    const watch = await watched(place);
    // Node's copy refuses sockets, as do Python's shutil.copytree and zip.
    cpSync(place.folder, `${place.folder}-copy`, { recursive: true });
    expect(existsSync(join(`${place.folder}-copy`, ".app.db-walrust", "state.json"))).toBe(true);
    for (const file of everythingIn(place.folder)) expect(lstatSync(file).isSocket()).toBe(false);
    const python = Bun.which("python3");
    if (python !== null && Bun.spawnSync([python, "-c", "import shutil"]).exitCode === 0) {
      const tree = "shutil.copytree(sys.argv[1], sys.argv[1] + '-2')";
      const zip = "shutil.make_archive(sys.argv[1] + '-3', 'zip', sys.argv[1])";
      const copying = ["import shutil, sys", tree, zip].join("\n");
      expect(Bun.spawnSync([python, "-c", copying, place.folder]).exitCode).toBe(0);
    }
    const { stdout } = await mustWalrust(["list", "--local", "--json"], place.environment);
    const { databases } = JSON.parse(stdout) as {
      databases: { path: string; socket: string; kept: string }[];
    };
    const listed = databases.find(({ path }) => path === place.path);
    expect(listed?.kept).toBe("beside");
    expect(listed?.socket.startsWith(place.environment.env["XDG_RUNTIME_DIR"]!)).toBe(true);
    const one = await mustWalrust(["list", "app", "--local"], place.environment);
    expect(one.stdout).toContain(listed!.socket);
    const none = await runWalrust(["list", "nobody", "--local", "--json"], place.environment);
    expect([none.exitCode, documentOf(none)]).toMatchObject([6, { error: { code: "restore" } }]);
    // Another spelling of the path finds the watch, too.
    const other = join(place.folder, "..", "data", ".", "app.db");
    const asked = await mustWalrust(["snapshot", other, "-b", place.url, "--json"], place.environment);
    expect(documentOf(asked)).toMatchObject({ name: "app" });
    expect(await watch.stop()).toBe(0);
  });

  test("every local file has mode 0600 in folders of 0700, whatever the umask", async () => {
    const place = world();
    const binary = await walrustBinary();
    const script = 'umask 000; exec "$0" "$@"';
    const words = [
      "watch",
      place.path,
      "-b",
      place.url,
      "--no-metrics",
      "--json",
      "--wal-sync-interval",
      "0.01",
    ];
    const child = Bun.spawn(["sh", "-c", script, binary, ...words], {
      env: { ...process.env, ...place.environment.env } as Record<string, string>,
      stdio: ["ignore", "pipe", "ignore"],
    });
    const application = new Database(place.path);
    let told = "";
    for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
      told += chunk;
      if (told.includes('"kind":"snapshot"') && !told.includes('"kind":"increment"'))
        commitRow(application, 1, 1);
      if (told.includes('"kind":"increment"')) break;
    }
    const files = [
      stateFolderOf(place.path).folder,
      join(place.environment.env["XDG_RUNTIME_DIR"]!, "walrust"),
    ];
    const kinds = new Set<string>();
    for (const file of files.flatMap(everythingIn)) {
      const stats = lstatSync(file);
      kinds.add(stats.isSocket() ? "socket" : stats.isDirectory() ? "folder" : "file");
      const mode = (stats.mode & 0o777).toString(8);
      expect([file, mode]).toEqual([file, stats.isDirectory() ? "700" : "600"]);
    }
    expect([...kinds].sort()).toEqual(["file", "folder", "socket"]);
    child.kill("SIGTERM");
    await child.exited;
    application.close();
  });

  test("for a folder that others can write, the state is in the state home and stays there", async () => {
    const place = world(0o777);
    const first = await watched(place);
    expect(await first.stop()).toBe(0);
    expect(existsSync(stateFolderOf(place.path).folder)).toBe(false);
    const [own] = readdirSync(place.home);
    expect(own).toMatch(/^app\.db-[0-9a-f]{16}$/);
    const second = await WatchProcess.start([place.path, "-b", place.url], place.environment);
    await second.waitFor("it watches", () => second.events.some(({ event }) => event === "watching"));
    expect(second.events.find(({ event }) => event === "watching")?.txid).toBe(1);
    expect(await second.stop()).toBe(0);
    expect(second.uploads()).toEqual([]);
  });

  test("restore leaves its state where watch expects it, and watch uploads nothing again", async () => {
    for (const words of [[], ["--state-dir", join(tempFolder("chosen"), "deep", "state")]]) {
      const place = world(words.length === 0 ? 0o777 : 0o755);
      const watch = await watched(place, ...words);
      expect(await watch.stop()).toBe(0);
      for (const suffix of ["", "-wal", "-shm"]) rmSync(`${place.path}${suffix}`, { force: true });
      await mustWalrust(["restore", "app", "-o", place.path, "-b", place.url, ...words], place.environment);
      expect(existsSync(stateFolderOf(place.path).folder)).toBe(false);
      const next = await WatchProcess.start([place.path, "-b", place.url, ...words], place.environment);
      await next.waitFor("it watches", () => next.events.some(({ event }) => event === "watching"));
      expect(await next.stop()).toBe(0);
      expect(next.uploads().filter(({ kind }) => kind === "snapshot")).toEqual([]);
      expect(next.events.filter(({ event }) => event === "re-anchored")).toEqual([]);
    }
  });

  test("watch continues from the state of an earlier version beside a database, with its modes", async () => {
    const place = world();
    const first = await watched(place);
    expect(await first.stop()).toBe(0);
    const { folder, sumsPath, statePath } = stateFolderOf(place.path);
    chmodSync(folder, 0o755);
    chmodSync(sumsPath, 0o664);
    chmodSync(statePath, 0o644);
    const second = await WatchProcess.start([place.path, "-b", place.url], place.environment);
    await second.waitFor("it watches", () => second.events.some(({ event }) => event === "watching"));
    expect(await second.stop()).toBe(0);
    expect([second.uploads(), second.events.filter(({ event }) => event === "re-anchored")]).toEqual([
      [],
      [],
    ]);
    expect([folder, sumsPath].map((file) => lstatSync(file).mode & 0o777)).toEqual([0o700, 0o600]);
  });

  test("watch moves its state away when a database's folder becomes writable for others", async () => {
    const place = world();
    const glob = join(place.folder, "*.db");
    const words = [glob, "-b", place.url, "--wal-sync-interval", "0.01"];
    const watch = await WatchProcess.start(words, place.environment);
    await watch.waitForTxid(1, "app");
    chmodSync(place.folder, 0o777);
    await watch.waitFor("its state moves", () => watch.stderr.includes("its state lies in"));
    const forged = join(place.folder, ".app.db-walrust");
    renameSync(forged, `${forged}.away`);
    const application = new Database(place.path);
    commitRow(application, 1, 1);
    await watch.waitForTxid(2, "app");
    expect(existsSync(forged)).toBe(false);
    expect(readdirSync(place.home).length).toBe(1);
    expect(await watch.stop()).toBe(0);
    application.close();
  });

  test.skipIf(!canChangeUser)("a user without a home and without a name needs neither", async () => {
    const user = { uid: 61_007, gid: 61_007, groups: [61_007], umask: 0o022 };
    const folder = tempFolder("homeless");
    const path = join(folder, "app.db");
    createAppDatabase(path);
    for (const file of [folder, path]) chownSync(file, user.uid, user.gid);
    const run = (...words: string[]) => runWalrust(words, { user, by: ["env", "-u", "HOME"] });
    const bucket = ["-b", `file://${join(folder, "bucket")}`];
    expect(await run("snapshot", path, ...bucket)).toMatchObject({ exitCode: 0, stderr: "" });
    expect(await run("list", "--local")).toMatchObject({ exitCode: 0, stderr: "" });
    const copy = join(folder, "copy.db");
    expect(await run("restore", "app", "-o", copy, ...bucket)).toMatchObject({ exitCode: 0, stderr: "" });
    for (const words of [
      ["snapshot", "~/app.db", ...bucket],
      ["list", "-b", "file://~/bucket"],
    ]) {
      const refused = await run(...words);
      expect([refused.exitCode, refused.stderr]).toEqual([2, expect.stringContaining("no home folder")]);
    }
    chmodSync(folder, 0o777);
    const shared = await run("snapshot", path, ...bucket);
    expect([shared.exitCode, shared.stderr]).toEqual([3, expect.stringContaining("--state-dir")]);
  });

  test.skipIf(!canChangeUser)(
    "in a volume of root and a group, --state-dir keeps state beside the data",
    async () => {
      const user = { uid: 61_007, gid: 61_007, groups: [61_008], umask: 0o022 };
      const volume = tempFolder("volume");
      const path = join(volume, "app.db");
      createAppDatabase(path);
      chownSync(volume, 0, 61_008);
      chmodSync(volume, 0o2775);
      chownSync(path, user.uid, 61_008);
      const bucket = fileDestination();
      mkdirSync(bucket.folder);
      chownSync(bucket.folder, user.uid, user.gid);
      chmodSync(join(bucket.folder, ".."), 0o755);
      const state = join(volume, "state");
      const words = [path, ...bucket.words, "--state-dir", state];
      const options = { user, env: { HOME: "/" } };
      for (const uploads of [1, 0]) {
        const watch = await WatchProcess.start(words, options);
        await watch.waitFor("it watches", () => watch.events.some(({ event }) => event === "watching"));
        await watch.waitFor("the upload", () => watch.uploads().length >= uploads);
        expect(await watch.stop()).toBe(0);
        expect(watch.uploads().length).toBe(uploads);
      }
      expect([lstatSync(state).uid, lstatSync(state).mode & 0o777]).toEqual([user.uid, 0o700]);
      chmodSync(volume, 0o2777);
      rmSync(state, { recursive: true });
      const refused = await runWalrust(["snapshot", ...words], options);
      expect([refused.exitCode, refused.stderr]).toEqual([
        3,
        expect.stringContaining("writable for everybody"),
      ]);
    },
  );
});
