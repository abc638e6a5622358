/** The executable, given a folder, or a path that its user may not use: what it found, and what to do. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { canChangeUser, runWalrust } from "../../support/processes/binary.ts";
import type { OtherUser } from "../../support/processes/other-user.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

const STRANGER: OtherUser = { uid: 61012, gid: 61012, groups: [61012], umask: 0o022 };
const VERBS = ["watch", "snapshot"];

function wordsOf(verb: string, path: string): string[] {
  return [verb, path, ...fileDestination().words, ...(verb === "watch" ? ["--no-metrics"] : [])];
}

test.each(VERBS)(
  "%s names a folder in the place of a database, and the glob for its databases",
  async (verb) => {
    const folder = tempFolder("apps");
    const run = await runWalrust(wordsOf(verb, folder));
    expect(run.exitCode).toBe(3);
    expect(run.stderr).toContain(`Cannot read ${folder}: it is a folder, expected a SQLite database`);
    expect(run.stderr).toContain(`or all of them with a glob: '${folder}/*.db'`);
  },
);

test.skipIf(!canChangeUser).each(VERBS)("%s names the user, and what it may not do", async (verb) => {
  const folder = join(tempFolder("apps"), "data");
  chmodSync(join(folder, ".."), 0o755);
  mkdirSync(folder);
  const path = join(folder, "app.db");
  const app = await SqliteProcess.open(path);
  await app.must("PRAGMA journal_mode = WAL", "CREATE TABLE t(v)");
  await app.close();
  const words = wordsOf(verb, path);
  const cases = [
    [0o700, 0o644, `Cannot find ${path}: permission denied (EACCES)`, `enter the folder ${folder}`],
    [0o755, 0o644, `Cannot open ${path}: permission denied (EACCES)`, `read and write ${path}`],
    [0o755, 0o666, `Cannot create ${path}-wal: permission denied (EACCES)`, `write to ${folder}, where`],
  ] as const;
  for (const [folderMode, fileMode, message, missing] of cases) {
    chmodSync(folder, folderMode);
    chmodSync(path, fileMode);
    const { exitCode, stderr } = await runWalrust(words, { user: STRANGER });
    expect([exitCode, stderr]).toEqual([3, expect.stringContaining(message)]);
    expect(stderr).toContain(`This user (uid ${STRANGER.uid}) may not ${missing}`);
    expect(stderr).toContain(": run walrust as the user of the application");
  }
});
