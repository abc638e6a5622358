/** `replicate` of a name below a destination: from flags, from walrust.toml, and its refusals. */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { assertSameBytes, checkpoint } from "../../support/histories/database-files.ts";
import { mustWalrust, runWalrust } from "../../support/processes/binary.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { tempFolder } from "../../support/temp.ts";

async function stored(): Promise<{ folder: string; database: string; bucket: string }> {
  const folder = tempFolder("replicate name");
  const database = join(folder, "a b.db");
  const app = await SqliteProcess.open(database);
  await app.must("PRAGMA journal_mode = WAL", "CREATE TABLE t(v)", "INSERT INTO t VALUES ('one')");
  const bucket = `file://${join(folder, "backup").replaceAll(" ", "%20")}`;
  await mustWalrust(["snapshot", database, "-b", bucket]);
  await app.close();
  checkpoint(database);
  return { folder, database, bucket };
}

test("replicate takes a name with -b, or with the bucket of walrust.toml", async () => {
  const { folder, database, bucket } = await stored();
  const first = join(folder, "first.db");
  await mustWalrust(["replicate", "a b", "--local", first, "--once", "-b", bucket]);
  assertSameBytes(first, database);
  writeFileSync(join(folder, "walrust.toml"), `[s3]\nbucket = "${bucket}/"\n`);
  await mustWalrust(["replicate", "a b", "--local", "second.db", "--once"], { cwd: folder });
  assertSameBytes(join(folder, "second.db"), database);
  // A complete URL overrides the bucket of the file.
  const words = ["replicate", `${bucket}/a%20b`, "--local", "third.db", "--once"];
  await mustWalrust(words, { cwd: folder });
  assertSameBytes(join(folder, "third.db"), database);
});

test.each([
  [["app"], "no destination is given"],
  [["s3://bucket/app", "-b", "s3://bucket"], "are both given"],
  [["../app", "-b", "file:///b"], ".."],
])("replicate %p is refused", async (words, said) => {
  const { exitCode, stderr } = await runWalrust(["replicate", ...words, "--local", "r.db", "--once"]);
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining(said)]);
});
