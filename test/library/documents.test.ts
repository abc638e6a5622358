/** The types of the JSON of the verbs for a person, beside what these verbs print. */
import { Database } from "bun:sqlite";
import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import {
  type CheckDocument,
  type DoctorDocument,
  type ErrorDocument,
  type RestoreAllDatabase,
  type RestoreAllDocument,
  type StatusDocument,
  type SyncDocument,
  watch,
} from "../../src/index.ts";
import { cleanEnvironment } from "../support/processes/binary.ts";
import { tempFolder } from "../support/temp.ts";

setDefaultTimeout(60_000);

const MAIN = join(import.meta.dir, "../../src/main.ts");

/** The document that a verb prints. */
async function printed(words: readonly string[]): Promise<unknown> {
  const command = [process.execPath, MAIN, ...words, "--json"];
  const child = Bun.spawn(command, { env: cleanEnvironment(), stdio: ["ignore", "pipe", "inherit"] });
  return JSON.parse(await child.stdout.text());
}

test("the documents of status, sync, doctor and restore --all have their exported types", async () => {
  const folder = tempFolder("documents");
  const path = join(folder, "app.db");
  const database = new Database(path);
  database.run("PRAGMA journal_mode = WAL");
  database.run("CREATE TABLE t (x)");
  const bucket = `file://${folder}/bucket`;
  const watching = await watch({ bucket, databases: [path] });
  const sync = (await printed(["sync", "app", "-b", bucket])) as SyncDocument;
  const [synced] = sync.databases;
  expect([sync.synced, synced?.outcome, synced?.uploaded_txid]).toEqual([true, "synced", 1]);
  const status = (await printed(["status", "app", "-b", bucket])) as StatusDocument;
  const [reported] = status.watches.flatMap(({ databases }) => databases);
  expect([reported?.path, reported?.health, reported?.snapshot?.txid]).toEqual([path, "healthy", 1]);
  const doctor = (await printed(["doctor", path, "-b", bucket])) as DoctorDocument;
  const reach: CheckDocument | undefined = doctor.checks.find(({ check }) => check === "reach");
  expect([doctor.exit, reach?.area, reach?.status]).toEqual([0, "destination", "ok"]);
  const into = join(folder, "all");
  const words = ["restore", "--all", "--into", into, "-b", bucket];
  const all = (await printed(words)) as RestoreAllDocument;
  const [row] = all.databases as readonly [RestoreAllDatabase];
  expect([all.restored, row.status, row.output]).toEqual([1, "restored", join(into, "app.db")]);
  if (row.status === "restored") expect(row.checks.sha256_objects).toBe(1);
  const { error } = (await printed(["restore", "none", "-o", "x", "-b", bucket])) as ErrorDocument;
  expect([error.code, error.exit]).toEqual(["restore", 6]);
  await watching.close();
  database.close();
});
