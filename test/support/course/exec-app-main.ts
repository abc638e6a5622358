/**
 * The application that `watch --exec` starts in tests. It opens a database, writes a line with its time for
 * each thing that happens to it, and commits each signal as a row.
 *
 * Arguments: the database, the log, and what to do when ready: `wait` for signals, `exit CODE`, or `orphan`:
 * leave a child that ends, and report whether somebody waits for it.
 */
import { Database } from "bun:sqlite";
import { appendFileSync, readdirSync, readFileSync } from "node:fs";

const [path = "", log = "", action = "wait", code = "0"] = process.argv.slice(2);
/** SIGTERM and SIGINT end the application with these codes. */
const EXIT_CODES: Readonly<Record<string, number>> = { SIGTERM: 7, SIGINT: 8 };

function write(line: string): void {
  appendFileSync(log, `${Date.now()} ${line}\n`);
}

const database = new Database(path);
database.run("PRAGMA journal_mode = WAL");
database.run("CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v)");
database.run("INSERT INTO t(v) VALUES ('ready')");

for (const name of ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const) {
  process.on(name, () => {
    database.run("INSERT INTO t(v) VALUES (?)", [name]);
    write(name);
    const exitCode = EXIT_CODES[name];
    if (exitCode !== undefined) process.exit(exitCode);
  });
}

/** Zombies whose parent is the first process. */
function orphanZombies(): number {
  const states = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  return states.filter((pid) => {
    try {
      return /\) Z 1 /.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
    } catch {
      return false;
    }
  }).length;
}

write("ready");
write(`variables ${Object.keys(process.env).sort().join(" ")}`);
if (action === "exit") process.exit(Number(code));
if (action === "orphan") {
  // The shell ends before its child, which then belongs to the first process.
  Bun.spawnSync(["sh", "-c", "sleep 0.05 & exit 0"]);
  let wasSeen = false;
  setInterval(() => {
    const count = orphanZombies();
    if (count > 0 && !wasSeen) write("zombie");
    if (count === 0 && wasSeen) write("reaped");
    wasSeen ||= count > 0;
  }, 20);
}
setInterval(() => {}, 60_000);
