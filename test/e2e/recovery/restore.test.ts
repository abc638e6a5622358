/** Restore: every point byte for byte, its refusals, its output, and an untouched target after a failure. */
import { Database } from "bun:sqlite";
import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { copyFileSync, cpSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { assertSameBytes, checkpoint } from "../../support/histories/database-files.ts";
import { type History, recordHistory } from "../../support/histories/history.ts";
import { documentOf, mustWalrust, type Run, runWalrust } from "../../support/processes/binary.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

let history: History;

beforeAll(async () => {
  history = await recordHistory(fileDestination());
});

/** A path to restore to, in a folder of its own. */
function newOutput(): string {
  return join(tempFolder("restore"), "restored.db");
}

function restoreWords(output: string, ...more: string[]): string[] {
  return ["restore", "app", "-o", output, ...history.destination.words, ...more];
}

/** A copy of the backup with one damaged object. */
function damagedCopy(damage: (folder: string) => void): string[] {
  const folder = join(tempFolder("damaged"), "backup");
  cpSync(history.destination.url.slice("file://".length), folder, {
    recursive: true,
    preserveTimestamps: true,
  });
  damage(join(folder, "app", "ltx"));
  return ["-b", `file://${folder}`];
}

function objectName(txid: number): string {
  const hex = txid.toString(16).padStart(16, "0");
  return `${txid === 1 ? 9 : 0}/${hex}-${hex}.ltx`;
}

function isoPlus(time: string, addMs: number): string {
  return new Date(Date.parse(time) + addMs).toISOString();
}

test("restore writes the newest state byte for byte, and lists its checks", async () => {
  const output = newOutput();
  const run = await mustWalrust(restoreWords(output));
  const newest = history.points.at(-1)!;
  assertSameBytes(output, newest.imagePath);
  expect(run.stdout).toContain(`restored TXID ${newest.txid} of ${newest.time} to ${output}`);
  expect(run.stdout).toContain("integrity_check ok");
  expect(run.stderr).toBe("");
});

test("restore --point-in-time writes every TXID byte for byte", async () => {
  for (const { txid, imagePath } of history.points) {
    const output = newOutput();
    await mustWalrust(restoreWords(output, "--point-in-time", `txid:${txid}`));
    assertSameBytes(output, imagePath);
  }
});

test("restore --point-in-time writes the newest capture at or before a time", async () => {
  for (const [index, { time, txid, imagePath }] of history.points.entries()) {
    const next = history.points[index + 1];
    const times = next === undefined ? [time] : [time, isoPlus(next.time, -1)];
    for (const asked of times) {
      const output = newOutput();
      const run = await mustWalrust(restoreWords(output, "--json", "--point-in-time", asked));
      expect(documentOf(run)).toMatchObject({ txid, time });
      assertSameBytes(output, imagePath);
    }
  }
});

test("restore of a time after the newest capture writes the newest, and reports its time", async () => {
  const newest = history.points.at(-1)!;
  const run = await mustWalrust(
    restoreWords(newOutput(), "--json", "--point-in-time", isoPlus(newest.time, 1)),
  );
  const { txid, notice } = documentOf<{ txid: number; notice: string }>(run);
  expect(txid).toBe(newest.txid);
  expect(notice).toContain(newest.time);
});

test("restore of a point out of range ends with 6 and names the nearest points", async () => {
  const [oldest, newest] = [history.points[0]!, history.points.at(-1)!];
  const cases: [point: string, named: string][] = [
    [`txid:${newest.txid + 1}`, `txid:${newest.txid}`],
    [isoPlus(oldest.time, -1), `txid:1 of ${oldest.time}`],
    [isoPlus(new Date().toISOString(), 3_600_000), "in the future"],
  ];
  for (const [point, named] of cases) {
    const output = newOutput();
    const run = await runWalrust(restoreWords(output, "--point-in-time", point));
    expect(run.exitCode).toBe(6);
    expect(run.stderr).toContain(named);
    expect(readdirSync(dirname(output))).toEqual([]);
  }
});

test.each(["restore", "verify", "list"])(
  "%s of an unknown name ends with 6, and names similar and existing ones",
  async (verb) => {
    const output = verb === "restore" ? ["-o", newOutput()] : [];
    const run = await runWalrust([verb, "ap", ...output, ...history.destination.words]);
    expect(run.exitCode).toBe(6);
    expect(run.stderr).toContain('No backup of "ap" in file://');
    expect(run.stderr).toContain("  Did you mean app? There are: app (`walrust list`)\n");
  },
);

test("restore --json prints one document of a stable shape", async () => {
  const output = newOutput();
  const newest = history.points.at(-1)!;
  const document = documentOf(await mustWalrust(restoreWords(output, "--json")));
  const objects = await history.destination.objects("app");
  expect(document).toMatchObject({
    name: "app",
    restored: true,
    output,
    txid: newest.txid,
    time: newest.time,
    bytes: readFileSync(newest.imagePath).length,
    objects: objects.length,
    downloaded_bytes: objects.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0),
    duration_ms: expect.any(Number),
    notice: null,
    previous: null,
    checks: {
      sha256_objects: objects.length,
      unchained_objects: 0,
      database_checksum: expect.stringMatching(/^[0-9a-f]{16}$/),
      integrity_check: "ok",
    },
  });
});

test("restore refuses an existing target with 2 and keeps it with --force", async () => {
  const output = newOutput();
  copyFileSync(history.points[1]!.imagePath, output);
  writeFileSync(`${output}-wal`, "not to be applied to what is restored");
  const refused = await runWalrust(restoreWords(output));
  expect(refused.exitCode).toBe(2);
  expect(refused.stderr).toContain("--force");
  assertSameBytes(output, history.points[1]!.imagePath);

  const document = documentOf<{ previous: string }>(
    await mustWalrust(restoreWords(output, "--force", "--json")),
  );
  assertSameBytes(output, history.points.at(-1)!.imagePath);
  assertSameBytes(document.previous, history.points[1]!.imagePath);
  expect(basename(document.previous)).toStartWith("restored.db.pre-restore-");
  expect(existsSync(`${output}-wal`)).toBe(false);
  expect(existsSync(`${document.previous}-wal`)).toBe(true);
});

test("restore --force refuses with 3 a target that another process has open", async () => {
  const output = newOutput();
  copyFileSync(history.points[1]!.imagePath, output);
  const application = await SqliteProcess.open(output);
  await application.must("SELECT count(*) FROM item");
  const run = await runWalrust(restoreWords(output, "--force"));
  expect(run.exitCode).toBe(3);
  expect(run.stderr).toContain("in use");
  await application.close();
  assertSameBytes(output, history.points[1]!.imagePath);
});

test("restore --if-db-not-exists and --if-replica-exists do nothing, with 0", async () => {
  const output = newOutput();
  writeFileSync(output, "mine");
  const existing = await mustWalrust(restoreWords(output, "--if-db-not-exists", "--json"));
  expect(documentOf(existing)).toMatchObject({ name: "app", restored: false });
  expect(readFileSync(output, "utf8")).toBe("mine");

  const absent = newOutput();
  for (const url of [history.destination.url, `file://${dirname(absent)}/missing`]) {
    const words = ["restore", "other", "-o", absent, "-b", url, "--if-replica-exists"];
    const run = await mustWalrust(words);
    expect(run.stdout).toContain("nothing restored");
    expect(existsSync(absent)).toBe(false);
  }
  await mustWalrust(restoreWords(absent, "--if-db-not-exists", "--if-replica-exists"));
  assertSameBytes(absent, history.points.at(-1)!.imagePath);
});

test("restore --dry-run describes its steps and writes nothing", async () => {
  const output = newOutput();
  const run = await mustWalrust(restoreWords(output, "--dry-run", "--point-in-time", "txid:3", "--json"));
  expect(documentOf(run)).toMatchObject({ restored: false, txid: 3, objects: 3 });
  expect(readdirSync(dirname(output))).toEqual([]);
});

/** Damage to the backup, and the object that the error must name. */
const DAMAGES: readonly (readonly [what: string, object: number, damage: (path: string) => void])[] = [
  ["a flipped bit in the snapshot", 1, (path) => flipBit(path, 0.5)],
  ["a flipped bit in an increment", 4, (path) => flipBit(path, 0.9)],
  ["a flipped bit in a header", 5, (path) => flipBit(path, 0)],
  ["a truncated object", 6, (path) => writeFileSync(path, readFileSync(path).subarray(0, -100))],
  ["an empty object", 3, (path) => writeFileSync(path, "")],
];

function flipBit(path: string, where: number): void {
  const bytes = readFileSync(path);
  bytes[Math.floor(bytes.length * where)]! ^= 1;
  writeFileSync(path, bytes);
}

test.each(DAMAGES)("restore ends with 5 on %s and leaves the target alone", async (_what, txid, damage) => {
  const words = damagedCopy((folder) => damage(join(folder, objectName(txid))));
  await assertRefused(words, objectName(txid));
});

test("restore ends with 5 on a gap and names the point before it", async () => {
  const words = damagedCopy((folder) => rmSync(join(folder, objectName(4))));
  const run = await assertRefused(words, "gap after TXID 3");
  expect(run.stderr).toContain("--point-in-time txid:3");
});

test("restore ends with 5 when one object stands at the key of another", async () => {
  const words = damagedCopy((folder) => {
    for (const suffix of ["", ".meta.json"]) {
      copyFileSync(join(folder, `${objectName(4)}${suffix}`), join(folder, `${objectName(5)}${suffix}`));
    }
  });
  await assertRefused(words, objectName(5));
});

/** Restores over an existing file. The restore must fail with 5 and leave the folder unchanged. */
async function assertRefused(destinationWords: readonly string[], named: string): Promise<Run> {
  const output = newOutput();
  writeFileSync(output, "mine");
  const run = await runWalrust(["restore", "app", "-o", output, ...destinationWords, "--force", "--json"]);
  expect(run.exitCode).toBe(5);
  expect(run.stderr).toContain(named);
  expect(documentOf(run)).toMatchObject({ error: { exit: 5 } });
  expect(readFileSync(output, "utf8")).toBe("mine");
  expect(readdirSync(dirname(output))).toEqual(["restored.db"]);
  return run;
}

test("watch after restore uploads nothing, and later only differences", async () => {
  const { destination } = await recordHistory(fileDestination());
  const output = newOutput();
  const words = ["restore", "app", "-o", output, ...destination.words];
  await mustWalrust(words);
  const before = await destination.objects("app");
  const watch = await WatchProcess.start([output, ...destination.words, "--wal-sync-interval", "0.05"]);
  await watch.waitFor("watching", () => watch.eventsOf("watching").length > 0);
  expect(await destination.objects("app")).toEqual(before);

  const connection = new Database(output);
  connection.run("UPDATE item SET body = 'after the restore' WHERE id = 2");
  const newest = Math.max(...before.map(({ maxTxid }) => maxTxid));
  await watch.waitForTxid(newest + 1, "app");
  connection.close(true);
  expect(await watch.stop()).toBe(0);
  expect(watch.uploads().length).toBe(1);
  expect(watch.uploads()[0]!.bytes!).toBeLessThan(before.find(({ level }) => level === 9)!.sizeBytes / 4);
  const again = newOutput();
  await mustWalrust(["restore", "app", "-o", again, ...destination.words]);
  checkpoint(output);
  assertSameBytes(again, output);
});
