/**
 * Runs every `sh` example of the READMEs as written. Examples build on each other, so they run in stories; a
 * new example needs a place in a story.
 */
import { expect, setDefaultTimeout, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import packageJson from "../../../package.json";
import { walrustBinary } from "../../support/processes/binary.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { blockOf, namesOf, README, ROOT } from "../../support/readme/readme-blocks.ts";
import { Sandbox } from "../../support/readme/readme-sandbox.ts";
import { PEERS_REQUIRED, peerPathOrNull } from "../../support/servers/peers.ts";

setDefaultTimeout(60_000);

interface Story {
  readonly title: string;
  /** Names of the `sh` blocks in this story. */
  readonly blocks: readonly string[];
  readonly run: (sandbox: Sandbox) => Promise<void>;
}

const STORIES: readonly Story[] = [
  { title: "tried out with npm alone", blocks: ["demo", "test", "build"], run: tryOut },
  {
    title: "first steps",
    blocks: ["first-databases", "first-watch", "first-list", "first-restore"],
    run: takeFirstSteps,
  },
  { title: "the same with flags", blocks: ["watch-flags"], run: watchWithFlags },
  { title: "restores of all kinds", blocks: ["restore"], run: restorePoints },
  { title: "all databases, and an undo", blocks: ["restore-all"], run: restoreAndUndo },
  { title: "a machine that restores on boot", blocks: ["restore-on-boot"], run: restoreOnBoot },
  { title: "the other verbs", blocks: ["verbs"], run: useVerbs },
  { title: "completions and the manual page", blocks: ["completions"], run: installCompletions },
  { title: "settings from the environment", blocks: ["environment"], run: configureByVariables },
  { title: "the disk died", blocks: ["disk-died"], run: loseDisk },
  { title: "something was deleted by mistake", blocks: ["mistake"], run: undoMistake },
  { title: "the bucket is corrupt", blocks: ["bucket-corrupt"], run: meetCorruption },
];

const hasSqlite = peerPathOrNull("sqlite3") !== null || PEERS_REQUIRED;

test.skipIf(!hasSqlite).each(STORIES.map((story) => [story.title, story] as const))(
  "README.md: %s",
  async (_title, { blocks, run }) => {
    const sandbox = await Sandbox.open();
    await run(sandbox);
    expect(new Set(sandbox.ran)).toEqual(new Set(blocks));
  },
);

test("README.md: every sh example has its place in a story", () => {
  const told = STORIES.flatMap(({ blocks }) => blocks);
  // readme-install.test.ts tells the story of "get".
  expect(namesOf("sh").toSorted()).toEqual([...told, "get"].toSorted());
});

/**
 * Replaces `npx` by a script that records its arguments and puts the executable in the place of a build. CI
 * runs the real commands.
 */
async function tryOut(sandbox: Sandbox): Promise<void> {
  const bin = join(sandbox.root, "bin");
  rmSync(join(bin, "walrust"));
  symlinkSync(await walrustBinary(), join(sandbox.root, "built"));
  const stub = [
    "#!/bin/bash -e",
    `echo "$*" >> ${join(sandbox.root, "asked")}`,
    `[ "$4" != build ] || { mkdir dist; ln -s ${join(sandbox.root, "built")} dist/walrust; }`,
  ];
  writeFileSync(join(bin, "npx"), `${stub.join("\n")}\n`, { mode: 0o755 });
  for (const name of ["demo", "test"]) await sandbox.run(name);
  const { stdout } = await sandbox.run("build");
  expect(stdout).toStartWith(`walrust ${packageJson.version} (`);
  const asked = readFileSync(join(sandbox.root, "asked"), "utf8");
  const bun = `npx -y ${packageJson.packageManager} run`;
  expect(asked.trimEnd().split("\n")).toEqual(
    ["demo", "test", "build"].map((script) => `${bun} ${script}`.replace("npx ", "")),
  );
  expect(Object.keys(packageJson.scripts)).toEqual(expect.arrayContaining(["demo", "test", "build"]));
  expect(readFileSync(join(ROOT, ".ci", "run"), "utf8")).toContain(`${bun} test`);
}

const SHOP = ["shop", "tenants/romneys/app", "tenants/smiths/app"];

async function takeFirstSteps(sandbox: Sandbox): Promise<void> {
  await sandbox.run("first-databases");
  const config = sandbox.substituted(blockOf("toml", "first-config").text);
  writeFileSync(join(sandbox.home, "walrust.toml"), config);
  const watch = sandbox.start("first-watch");
  for (const name of SHOP)
    await watch.until(`the first upload of ${name}`, () => newestInFolder(sandbox, name) > 0);
  expect(watch.said()).toContain("A watch would start.");

  const list = await sandbox.run("first-list");
  expect(namesListed(list.stdout)).toEqual(SHOP);
  expect(README).toContain(`in the bucket: ${SHOP.map((name) => `\`${name}\``).join(", ")}.`);
  expect(list.stdout).toContain("3 databases: 3 ok, 0 with warnings, 0 with errors");

  await watch.until("the upload of the second note", () => newestInFolder(sandbox, "shop") > 1);
  const restore = await sandbox.run("first-restore");
  expect(restore.stdout).toEndWith("\nfirst\nsecond\n");
  // The running watch notices the restore and continues.
  const newest = newestInFolder(sandbox, "shop");
  await insertNote(sandbox, "data/shop.db", "third");
  await watch.until("an upload after the restore", () => newestInFolder(sandbox, "shop") > newest);
  watch.terminate();
  await watch.end();

  for (const name of SHOP) {
    const path = `data/${name}.db`;
    await sandbox.script(`walrust restore ${name} -o again.db`);
    expect(await dump(sandbox, "again.db")).toBe(await dump(sandbox, path));
    rmSync(join(sandbox.home, "again.db"));
  }
  // The same step works after the watch has stopped: then no -wal is left.
  await sandbox.script('sqlite3 data/shop.db "PRAGMA wal_checkpoint(TRUNCATE)"');
  const again = await sandbox.run("first-restore");
  expect(again.stdout).toEndWith("\nfirst\nsecond\nthird\n");
}

function namesListed(table: string): string[] {
  const [, rows = ""] = /^DATABASE .*\n((?:.* {2,}\d.*\n)+)/m.exec(table) ?? [];
  return [...rows.matchAll(/^(\S+)/gm)].map(([, name]) => name!);
}

async function watchWithFlags(sandbox: Sandbox): Promise<void> {
  await sandbox.script(blockOf("sh", "first-databases").text);
  const watch = sandbox.start("watch-flags");
  await watch.until("the first upload", () => newestInFolder(sandbox, "shop") > 0);
  watch.terminate();
  for (const name of ["romneys/app", "smiths/app"]) {
    await watch.until(`the upload of ${name}`, () => isStored(sandbox, `vm1/${name}/0009/`));
  }
  watch.terminate();
  await watch.until("an upload to S3", () => isStored(sandbox, "shop/0009/"));
  watch.terminate();
  await watch.end();
  for (const [name, bucket] of [
    ["shop", "file:///tmp/walrust-backup"],
    ["romneys/app", "s3://my-bucket/vm1"],
    ["shop", "s3://my-bucket"],
  ] as const) {
    await sandbox.script(sandbox.substituted(`walrust restore ${name} -o out.db --force -b ${bucket}`));
    expect(await notes(sandbox, "out.db")).toEqual(["first"]);
  }
}

async function restorePoints(sandbox: Sandbox): Promise<void> {
  await backUpNotes(sandbox);
  await sandbox.script("rm app.db app.db-wal app.db-shm");
  const { stdout } = await sandbox.run("restore");
  expect(await notes(sandbox, "app.db")).toEqual(["first", "second", "third"]);
  expect(await notes(sandbox, "old.db")).toEqual(["first", "second"]);
  expect(await notes(sandbox, "older.db")).toEqual(["first"]);
  expect(namesListed(stdout)).toEqual(["app"]);
}

async function restoreAndUndo(sandbox: Sandbox): Promise<void> {
  await backUpNotes(sandbox);
  const { stdout } = await sandbox.run("restore-all");
  expect(stdout).toContain("1 database: 1 restored");
  expect(stdout).toContain("the replaced file is now");
  expect(await notes(sandbox, "data/app.db")).toEqual(["first", "second", "third"]);
}

async function restoreOnBoot(sandbox: Sandbox): Promise<void> {
  const path = join(sandbox.home, "app.db");
  await sandbox.run("restore-on-boot");
  expect(existsSync(path)).toBe(false);
  await backUpNotes(sandbox);
  await sandbox.script("rm app.db app.db-wal app.db-shm");
  await sandbox.run("restore-on-boot");
  await insertNote(sandbox, "app.db", "fourth");
  await sandbox.run("restore-on-boot");
  expect(await notes(sandbox, "app.db")).toEqual(["first", "second", "third", "fourth"]);
}

async function useVerbs(sandbox: Sandbox): Promise<void> {
  await backUpNotes(sandbox);
  await insertNote(sandbox, "app.db", "fourth");
  const { stdout } = await sandbox.run("verbs");
  expect(stdout).toMatch(/restored? .*TXID 4/);
  expect(await notes(sandbox, "replica.db")).toEqual(["first", "second", "third", "fourth"]);
  expect(await notes(sandbox, "app.db")).toEqual(["first", "second", "third", "fourth"]);
}

async function installCompletions(sandbox: Sandbox): Promise<void> {
  await sandbox.run("completions");
  const installed = (path: string): string => readFileSync(join(sandbox.home, path), "utf8");
  for (const path of ["share/bash-completion/completions/walrust", "share/man/man1/walrust.1"]) {
    expect(installed(join(".local", path))).toContain("walrust");
  }
  expect(installed(".zfunc/_walrust")).toStartWith("#compdef walrust\n");
  expect(installed(".config/fish/completions/walrust.fish")).toContain("complete -c walrust");
  await sandbox.script("source ~/.local/share/bash-completion/completions/walrust && complete -p walrust");
}

async function configureByVariables(sandbox: Sandbox): Promise<void> {
  await backUpNotes(sandbox);
  const { stdout } = await sandbox.run("environment");
  const names = [...blockOf("sh", "environment").text.matchAll(/WALRUST_\w+/g)].map(([name]) => name);
  expect(names.length).toBeGreaterThan(2);
  for (const name of names) expect(stdout).toContain(name);
}

async function loseDisk(sandbox: Sandbox): Promise<void> {
  await backUpNotes(sandbox);
  rmSync(sandbox.home, { recursive: true });
  mkdirSync(sandbox.home);
  const watch = sandbox.start("disk-died");
  await watch.until("watching", () => watch.said().includes("app: watching from TXID 3"));
  await insertNote(sandbox, "app.db", "fourth");
  await watch.until("TXID 4", () => isStored(sandbox, "vm1/app/0000/0000000000000004-"));
  watch.terminate();
  await watch.end();
  await sandbox.script("walrust restore app -o again.db -b s3://my-bucket/vm1");
  expect(await notes(sandbox, "again.db")).toEqual(["first", "second", "third", "fourth"]);
}

async function undoMistake(sandbox: Sandbox): Promise<void> {
  await backUpNotes(sandbox);
  await sandbox.script(`sqlite3 app.db "DELETE FROM notes WHERE text = 'second'"`);
  await sandbox.run("mistake");
  expect(await notes(sandbox, "app.db")).toEqual(["first", "second", "third"]);
}

/** The first line exits with 5, as documented, so the test runs the lines one by one. */
async function meetCorruption(sandbox: Sandbox): Promise<void> {
  await backUpNotes(sandbox);
  const key = "app/0000/0000000000000002-0000000000000002.ltx";
  const { bytes } = sandbox.server.objects.get(`my-bucket/vm1/${key}`)!;
  bytes[120]! ^= 1;
  const [verify, snapshot, restore, ...more] = sandbox.linesOf("bucket-corrupt");
  expect(more).toEqual([]);
  const newest = "walrust restore app -o again.db -b s3://my-bucket/vm1";
  expect((await sandbox.spawn(newest).end(5)).stderr).toContain(key);
  expect((await sandbox.spawn(verify!).end(5)).stdout).toContain(key);
  await sandbox.script(snapshot!);
  await sandbox.script(newest);
  expect(await notes(sandbox, "again.db")).toEqual(["first", "second", "third"]);
  await sandbox.script(restore!);
  expect(await notes(sandbox, "other.db")).toEqual(["first"]);
}

/**
 * Backs up `app.db` to `s3://my-bucket/vm1` as TXID 1 to 3, with one note each. The invented time of the text
 * becomes the time of TXID 2; the invented TXID becomes 1.
 */
async function backUpNotes(sandbox: Sandbox): Promise<void> {
  const create = "PRAGMA journal_mode=WAL; CREATE TABLE notes(id INTEGER PRIMARY KEY, text)";
  await sandbox.script(`sqlite3 app.db "${create}; INSERT INTO notes(text) VALUES ('first')"`);
  const words = ["app.db", "-b", "s3://my-bucket/vm1", "--wal-sync-interval", "0.01"];
  const watch = await WatchProcess.start(words, { cwd: sandbox.home, env: sandbox.environment });
  await watch.waitForTxid(1);
  for (const [index, text] of ["second", "third"].entries()) {
    await insertNote(sandbox, "app.db", text);
    await watch.waitForTxid(index + 2);
  }
  expect(await watch.stop()).toBe(0);
  sandbox.time = watch.uploads().find(({ txid }) => txid === 2)!.time!;
  sandbox.txid = 1;
}

async function insertNote(sandbox: Sandbox, path: string, text: string): Promise<void> {
  await sandbox.script(`sqlite3 ${path} "INSERT INTO notes(text) VALUES ('${text}')"`);
}

async function notes(sandbox: Sandbox, path: string): Promise<string[]> {
  const { stdout } = await sandbox.script(`sqlite3 ${path} "SELECT text FROM notes ORDER BY id"`);
  return stdout.trimEnd().split("\n");
}

async function dump(sandbox: Sandbox, path: string): Promise<string> {
  return (await sandbox.script(`sqlite3 ${path} .dump`)).stdout;
}

function isStored(sandbox: Sandbox, prefix: string): boolean {
  return [...sandbox.server.objects.keys()].some((key) => key.startsWith(`my-bucket/${prefix}`));
}

/** Newest TXID in the destination folder of the first steps; 0 without an object. */
function newestInFolder(sandbox: Sandbox, name: string): number {
  const folder = join(sandbox.root, "tmp", "walrust-backup", name, "ltx");
  const files = existsSync(folder) ? (readdirSync(folder, { recursive: true }) as string[]) : [];
  const txids = files.map((file) => /-([0-9a-f]{16})\.ltx$/.exec(file)?.[1] ?? "0");
  return Math.max(0, ...txids.map((digits) => Number.parseInt(digits, 16)));
}
