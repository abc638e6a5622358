/** A checkpoint by another process: whether any lock keeps it from truncating the WAL. */

const SCRIPT = `const { Database } = require("bun:sqlite");
const database = new Database(process.argv[1]);
const { busy } = database.query("PRAGMA wal_checkpoint(TRUNCATE)").get();
database.close();
process.exit(busy === 0 ? 0 : 3);`;

/**
 * Whether no process holds the WAL of a database. The check runs in a child process: a connection in this
 * process would share its locks with the code under test.
 */
export function isWalFree(path: string): boolean {
  const { exitCode, stderr } = Bun.spawnSync([process.execPath, "-e", SCRIPT, path]);
  if (exitCode !== 0 && exitCode !== 3 && !stderr.toString().includes("SQLITE_BUSY")) {
    throw new Error(`no checkpoint of ${path}: ${stderr}`);
  }
  return exitCode === 0;
}
