/**
 * `bun scripts/measure/replica-lag.ts`: measures how soon a commit can be read in a replica on the same
 * machine: by `watch --push-to` and `serve`, by `replicate`, and by Litestream's follow mode. Needs Linux.
 *
 *   --commits N     isolated commits of each tool [60]
 *   --binary PATH   run this walrust instead of a fresh build
 *
 * Each tool has a database and a folder bucket of its own; an isolated commit goes to both databases. The
 * clock of a replica begins when the commit returns, and ends when a new read of the replica shows it. All
 * tools have their defaults, except that `replicate` polls every 100 ms, as often as Litestream can. Without
 * Litestream (`bun run peers`), the others are measured. Prints a Markdown table.
 */
import { Database } from "bun:sqlite";
import { existsSync, mkdirSync } from "node:fs";
import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ensureBinary, fail, ROOT } from "../toolchain.ts";
import { quantile } from "./statistics.ts";
import { assertAlive, type Child, Workspace, waitUntil } from "./workspace.ts";

const LITESTREAM = join(ROOT, ".peers", "bin", "litestream");
const PORT = 18_080;
/** A commit that no replica shows within this time fails the run. */
const PATIENCE_MS = 30_000;
/** Commits are isolated: `wal_sync_interval` is over before the next one. */
const PAUSE_MS = 1_100;

/** A replica and the database that it follows. */
interface Replica {
  readonly label: string;
  readonly path: string;
  readonly lagsMs: number[];
}

/** Makes an empty database in WAL mode, open for commits. */
function openSource(path: string): Database {
  const database = new Database(path);
  database.run("PRAGMA journal_mode = WAL");
  database.run("CREATE TABLE tick (id INTEGER PRIMARY KEY, body TEXT)");
  database.run("INSERT INTO tick VALUES (0, 'first')");
  return database;
}

/** The newest commit that a new reader sees; -1 without a readable replica. */
function newestIn(path: string): number {
  if (!existsSync(path)) return -1;
  try {
    const database = new Database(path, { readonly: true });
    try {
      return (database.query("SELECT max(id) FROM tick").values() as [[number]])[0][0];
    } finally {
      database.close();
    }
  } catch {
    // Between two states, a reader of Litestream's replica may get an error.
    return -1;
  }
}

/** Commits to all sources, and waits until each replica shows the commit. */
async function commit(id: number, sources: readonly Database[], replicas: readonly Replica[]): Promise<void> {
  for (const source of sources) source.run("INSERT INTO tick VALUES (?, hex(randomblob(16)))", [id]);
  const beganMs = performance.now();
  const open = new Set(replicas);
  while (open.size > 0) {
    for (const replica of open) {
      if (newestIn(replica.path) < id) continue;
      replica.lagsMs.push(performance.now() - beganMs);
      open.delete(replica);
    }
    const [late] = open;
    if (late !== undefined && performance.now() - beganMs > PATIENCE_MS)
      throw new Error(`${late.label} does not show commit ${id}`);
    await Bun.sleep(0.5);
  }
}

function rowOf({ label, lagsMs }: Replica): string {
  const sorted = lagsMs.toSorted((a, b) => a - b);
  const ms = (share: number): string => quantile(sorted, share).toFixed(1);
  return `| ${label} | ${ms(0.5)} | ${ms(0.95)} | ${ms(1)} |`;
}

async function measure(workspace: Workspace, folder: string, binary: string, count: number): Promise<void> {
  const walrust = join(folder, "walrust");
  await copyFile(binary, walrust);
  for (const name of ["a", "b", "replicas"]) mkdirSync(join(folder, name));
  const [own, theirs] = [join(folder, "a", "app.db"), join(folder, "b", "app.db")];
  const at = (name: string): string => join(folder, "replicas", name);
  const url = `file://${folder}/bucket`;
  const sources = [openSource(own)];
  const replicas: Replica[] = [
    { label: "walrust push", path: at("push.db"), lagsMs: [] },
    { label: "walrust replicate", path: at("pull.db"), lagsMs: [] },
  ];
  const children: Child[] = [];
  const start = (label: string, ...words: string[]): void => {
    children.push(workspace.start(label, { words, env: { HOME: folder } }));
  };
  start("serve", walrust, "serve", "--db", at("push.db"), "--port", String(PORT));
  start("watch", walrust, "watch", own, "-b", url, "--push-to", `http://127.0.0.1:${PORT}`, "--no-metrics");
  await waitUntil(children, "the first push", PATIENCE_MS, () => newestIn(at("push.db")) === 0);
  start("replicate", walrust, "replicate", `${url}/app`, "--local", at("pull.db"), "--interval", "100ms");
  if (existsSync(LITESTREAM)) {
    sources.push(openSource(theirs));
    replicas.push({ label: "Litestream follow", path: at("follow.db"), lagsMs: [] });
    start("litestream", LITESTREAM, "replicate", theirs, `file://${folder}/litestream`);
    await waitUntil(children, "Litestream", PATIENCE_MS, () =>
      existsSync(join(folder, "litestream", "ltx", "9")),
    );
    const words = ["restore", "-f", "-follow-interval", "100ms", "-o", at("follow.db")];
    start("follow", LITESTREAM, ...words, `file://${folder}/litestream`);
  }
  for (let id = 1; id <= count; id++) {
    await commit(id, sources, replicas);
    for (const child of children) assertAlive(child);
    await Bun.sleep(PAUSE_MS + 400 * Math.random());
  }
  for (const source of sources) source.close();
  console.log("| replica | p50 ms | p95 ms | max ms |\n| --- | ---: | ---: | ---: |");
  for (const replica of replicas) console.log(rowOf(replica));
}

async function main(): Promise<void> {
  const text = { type: "string" } as const;
  const { values } = parseArgs({ options: { commits: text, binary: text } });
  const count = Number(values.commits ?? "60");
  if (!(count > 0)) throw new Error(`--commits ${values.commits}: expected a number above 0`);
  const binary = await ensureBinary(values.binary ?? null);
  const workspace = await Workspace.create("replica-lag");
  try {
    await workspace.scope("lag", (folder) => measure(workspace, folder, binary, count));
  } finally {
    await workspace.dispose();
  }
}

main().catch((error: unknown) => fail(error instanceof Error ? error.message : String(error)));
