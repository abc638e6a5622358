/**
 * An application with a backup of its own: notes over HTTP, in a SQLite database that an embedded walrust
 * replicates. On a machine without the database, the application begins with the newest backup.
 *
 *   bun scripts/examples/embedded-app.ts notes.db file:///tmp/backup
 *   curl -d 'a note' http://127.0.0.1:8080/
 *   curl http://127.0.0.1:8080/
 */
import { Database } from "bun:sqlite";
import { restore, type WalrustError, watch } from "walrust";

const [path = "notes.db", bucket = "file:///tmp/walrust-backup"] = process.argv.slice(2);
const executable = process.env["NOTES_EXECUTABLE"];
const onLog = ({ level, message }: { level: string; message: string }): void => {
  console.error(`walrust ${level}: ${message}`);
};
const shared = { bucket, executable, onLog };

// The very first start finds neither a database nor a backup: then nothing is restored.
await restore({ ...shared, name: "notes", output: path, ifDbNotExists: true, ifReplicaExists: true });

const database = new Database(path);
database.run("PRAGMA journal_mode = WAL");
database.run("PRAGMA busy_timeout = 5000");
database.run("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)");
const insert = database.query("INSERT INTO notes (text) VALUES (?) RETURNING id");
const select = database.query("SELECT id, text FROM notes ORDER BY id");

const watching = await watch({ ...shared, databases: [{ path, name: "notes" }] });
watching.ended.catch((error: WalrustError) => console.error(`no backup any more: ${error.message}`));

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.env["PORT"] ?? 8080),
  async fetch(request) {
    if (request.method === "POST") return Response.json(insert.get(await request.text()));
    return Response.json(select.all());
  },
});
console.log(JSON.stringify({ url: server.url.href, pid: process.pid, walrust: watching.pid }));

for (const name of ["SIGINT", "SIGTERM"] as const) {
  process.once(name, async () => {
    await server.stop();
    database.close();
    // The last commits are in the bucket when this resolves.
    await watching.close();
    process.exit(0);
  });
}
