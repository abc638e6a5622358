/**
 * One watch over the folders of many tenants. Each tenant replaces one file that walrust opens with another
 * kind of file. The watch replicates the other tenants, reports this one, and stops on request.
 */
import { Database } from "bun:sqlite";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  lchownSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { commitRow, createAppDatabase } from "../../support/histories/app-rows.ts";
import { inflateSchema } from "../../support/histories/large-schema.ts";
import { mustWalrust } from "../../support/processes/binary.ts";
import { takeLeaseOrNull } from "../../support/processes/lease.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

/** Every file that a watch opens in a tenant's folder, named as in that folder. */
const OPENED = [
  "app.db",
  "app.db-wal",
  "app.db-shm",
  "app.db-journal",
  ".app.db-walrust",
  ".app.db-walrust/state.json",
  ".app.db-walrust/pages.sum",
  ".app.db-walrust/foreign-writer.json",
  ".app.db-walrust/watch.socket",
  ".app.db-walrust/ltx",
  ".app.db-walrust/ltx/0000-0000000000000002-0000000000000002.ltx",
  ".app.db-walrust/ltx/log-0000000000000002.ltxs",
  ".app.db-walrust/ltx/sent",
];

const SECRET = "a file of root";

/** The replacement of the file. */
const KINDS: Readonly<Record<string, (path: string, secretPath: string) => void>> = {
  fifo: (path) => void Bun.spawnSync(["mkfifo", path]),
  link: (path, secretPath) => symlinkSync(secretPath, path),
  dangling: (path) => symlinkSync(`${path}.nowhere`, path),
  folder: (path) => void mkdirSync(path),
  sparse: (path) => {
    writeFileSync(path, "", { mode: 0o600 });
    truncateSync(path, 60 * 1024 ** 3);
  },
  device: (path) => void Bun.spawnSync(["mknod", path, "c", "1", "5"]),
};

/** A tenant with one replaced file. */
function hostileTenant(top: string, file: string, kind: string, secretPath: string): string {
  const folder = join(top, `${kind}-${file.replaceAll(/[^a-z]+/g, "-")}`);
  mkdirSync(folder, { mode: 0o700 });
  createAppDatabase(join(folder, "app.db"));
  const path = join(folder, file);
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  rmSync(path, { recursive: true, force: true });
  KINDS[kind]!(path, secretPath);
  return folder;
}

function victim(top: string, name: string): Database {
  mkdirSync(join(top, name), { mode: 0o700 });
  createAppDatabase(join(top, name, "app.db"));
  return new Database(join(top, name, "app.db"));
}

async function expectVictimsServed(
  watch: WatchProcess,
  victims: ReadonlyMap<string, Database>,
): Promise<void> {
  for (const name of victims.keys()) await watch.waitForTxid(1, `${name}/app`);
  let number = 0;
  for (const [name, database] of victims) {
    commitRow(database, 1, ++number);
    await watch.waitForTxid(2, `${name}/app`);
  }
}

describe("a watch over hostile tenants", () => {
  for (const isOpen of [false, true]) {
    const where = isOpen ? "in folders that everybody may write to" : "in folders of its own user";
    test(`serves the others whatever stands in the file's place, ${where}`, async () => {
      const top = tempFolder("tenants");
      const bucket = tempFolder("bucket");
      const secretPath = join(tempFolder("secret"), "secret");
      writeFileSync(secretPath, SECRET, { mode: 0o600 });
      const victims = new Map(["aaa", "zzz"].map((name) => [name, victim(top, name)]));
      for (const file of OPENED) {
        for (const kind of Object.keys(KINDS)) {
          const folder = hostileTenant(top, file, kind, secretPath);
          if (isOpen) chmodSync(folder, 0o777);
        }
      }
      const words = [join(top, "*/app.db"), "-b", `file://${bucket}`, "--wal-sync-interval", "0.01"];
      const watch = await WatchProcess.start(words, { env: { STATE_DIRECTORY: tempFolder("home") } });
      await expectVictimsServed(watch, victims);
      const exitCode = await watch.stop();
      if (exitCode !== 0) throw new Error(`it ended with ${exitCode}\n${watch.stderr}`);
      expect(readFileSync(secretPath, "utf8")).toBe(SECRET);
      expect(statSync(secretPath).mode & 0o777).toBe(0o600);
      // The watch reports every database that it does not replicate.
      for (const file of OPENED) {
        for (const kind of Object.keys(KINDS)) {
          const name = `${kind}-${file.replaceAll(/[^a-z]+/g, "-")}`;
          const isStored = watch.uploads(`${name}/app`).length > 0;
          // A glob finds only regular files.
          const isFound = file !== "app.db" || kind === "sparse" || kind === "link";
          if (isFound) expect([name, isStored || watch.stderr.includes(`${name}/app`)]).toEqual([name, true]);
          if (kind === "dangling") expect(existsSync(join(top, name, `${file}.nowhere`))).toBe(false);
        }
      }
      for (const database of victims.values()) database.close();
    });
  }

  test("continues beside leases on all files of a tenant, taken while it runs", async () => {
    const top = tempFolder("tenants");
    const others = new Map([["zzz", victim(top, "zzz")]]);
    mkdirSync(join(top, "tenant"), { mode: 0o700 });
    const path = join(top, "tenant", "app.db");
    createAppDatabase(path);
    for (const suffix of ["-wal", "-shm", "-journal"]) writeFileSync(`${path}${suffix}`, "");
    const leases = await Promise.all(["", "-wal", "-shm", "-journal"].map((s) => takeLeaseOrNull(path + s)));
    const words = [
      join(top, "*/app.db"),
      "-b",
      `file://${tempFolder("bucket")}`,
      "--wal-sync-interval",
      "0.01",
    ];
    const watch = await WatchProcess.start(words);
    await expectVictimsServed(watch, others);
    if (!leases.includes(null)) {
      await watch.waitFor("the lease is told", () => watch.stderr.includes("holds a lease on it"));
    }
    for (const end of leases) await end?.();
    await watch.waitForTxid(1, "tenant/app");
    expect(await watch.stop()).toBe(0);
  });

  test("refuses a schema that would block SQLite at each checkpoint", async () => {
    const top = tempFolder("tenants");
    const others = new Map([["zzz", victim(top, "zzz")]]);
    mkdirSync(join(top, "tenant"), { mode: 0o700 });
    createAppDatabase(join(top, "tenant", "app.db"));
    inflateSchema(join(top, "tenant", "app.db"));
    const words = [join(top, "*/app.db"), "-b", `file://${tempFolder("bucket")}`];
    const watch = await WatchProcess.start([...words, "--wal-sync-interval", "0.01"]);
    await expectVictimsServed(watch, others);
    await watch.waitFor("it is told", () => /tenant\/app: .*its schema has more than/.test(watch.stderr));
    expect(await watch.stop()).toBe(0);
  });

  test.skipIf(process.getuid?.() !== 0)(
    "ignores a forged state, and follows no link to another's database",
    async () => {
      const top = tempFolder("tenants");
      chmodSync(top, 0o755);
      const bucket = tempFolder("bucket");
      const database = victim(top, "victim");
      const tenant = join(top, "tenant");
      mkdirSync(tenant);
      createAppDatabase(join(tenant, "own.db"));
      symlinkSync(join(top, "victim", "app.db"), join(tenant, "app.db"));
      const home = tempFolder("home");
      const environment = { env: { STATE_DIRECTORY: home } };
      // A state that a watch of the tenant wrote for another name.
      const forge = await WatchProcess.start([join(tenant, "own.db"), "-b", `file://${bucket}`], environment);
      await forge.waitForTxid(1, "own");
      await forge.stop();
      for (const path of [tenant, join(tenant, "own.db"), join(tenant, ".own.db-walrust")])
        lchownSync(path, 4242, 4242);
      lchownSync(join(tenant, "app.db"), 4242, 4242);
      const watch = await WatchProcess.start(
        [join(top, "*/*.db"), "-b", `file://${bucket}`, "--wal-sync-interval", "0.01"],
        environment,
      );
      await watch.waitForTxid(1, "victim/app");
      await watch.waitForTxid(1, "tenant/own");
      expect(watch.uploads("tenant/app")).toEqual([]);
      expect(watch.stderr).toContain("is a link of user 4242 to a file or folder of user 0");
      expect(watch.stderr).toContain(`the state in ${join(tenant, ".own.db-walrust")} is ignored`);
      const listed = await mustWalrust(["list", "--local", "--json"], environment);
      const { databases } = JSON.parse(listed.stdout) as {
        databases: { path: string; kept: string; state_folder: string; socket: string | null }[];
      };
      const own = databases.find(({ path }) => path === join(tenant, "own.db"));
      expect([own?.kept, own?.state_folder.startsWith(home), own?.socket === null]).toEqual([
        "state-home",
        true,
        false,
      ]);
      expect(await watch.stop()).toBe(0);
      database.close();
    },
  );
});
