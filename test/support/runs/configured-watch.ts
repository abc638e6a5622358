/**
 * The built executable with all settings in a walrust.toml in its working directory. A folder holds the
 * databases and the file; a test sets the keys under test.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Run, runWalrust, type Variables } from "../processes/binary.ts";
import { SqliteProcess } from "../processes/sqlite-process.ts";
import { WatchProcess } from "../processes/watch-process.ts";
import { fileDestination } from "../servers/destinations.ts";
import type { S3Server } from "../servers/s3-server.ts";
import { tempFolder } from "../temp.ts";

/** TOML values by `section.key`. */
export type Settings = Readonly<Record<string, string>>;

/** A folder with databases and a configuration. */
export interface Configured {
  readonly folder: string;
  /** The application of each database, by the stem of the database file. */
  readonly apps: ReadonlyMap<string, SqliteProcess>;
  /** Runs a verb in the folder. */
  run(words: readonly string[]): Promise<Run>;
  /**
   * Starts a watch and waits until it watches `databaseCount` databases.
   * @param words arguments in addition to the file
   */
  watch(databaseCount?: number, words?: readonly string[]): Promise<WatchProcess>;
  /** Commits one row into a database. */
  commit(text?: string, stem?: string): Promise<void>;
}

/** Optional parts of the folder. */
export interface ConfiguredOptions {
  readonly env?: Variables;
  /** Stems of the databases; `app` alone by default. */
  readonly stems?: readonly string[];
  /** Text after the settings, such as [[databases]]; one entry for each stem by default. */
  readonly entries?: string;
}

const opened: SqliteProcess[] = [];

/** Ends the applications of all tests so far. */
export async function closeApplications(): Promise<void> {
  await Promise.all(opened.splice(0).map((app) => app.kill()));
}

/** Makes a folder with databases and a walrust.toml. */
export async function configured(settings: Settings, options: ConfiguredOptions = {}): Promise<Configured> {
  const { stems = ["app"], env = {} } = options;
  const folder = tempFolder("configured");
  const apps = new Map<string, SqliteProcess>();
  for (const stem of stems) apps.set(stem, await newApplication(join(folder, `${stem}.db`)));
  const entries = options.entries ?? stems.map((stem) => `[[databases]]\npath = "${stem}.db"\n`).join("");
  const all = { "metrics.enabled": "false", ...settings };
  const lines = Object.entries(all).map(([key, value]) => `${key} = ${value}\n`);
  writeFileSync(join(folder, "walrust.toml"), `${lines.join("")}${entries}`, { mode: 0o600 });
  return {
    folder,
    apps,
    run: (words) => runWalrust(words, { cwd: folder, env }),
    watch: async (databaseCount = stems.length, words = []) => {
      const watch = await WatchProcess.start(words, { cwd: folder, env });
      await watch.waitFor("watching", () => watch.eventsOf("watching").length >= databaseCount);
      return watch;
    },
    commit: async (text = "row", stem = stems[0]!) => {
      await apps.get(stem)!.must(`INSERT INTO t(v) VALUES ('${text}')`);
    },
  };
}

async function newApplication(path: string): Promise<SqliteProcess> {
  const app = await SqliteProcess.open(path);
  opened.push(app);
  await app.must(
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = OFF",
    "CREATE TABLE t(id INTEGER PRIMARY KEY, v)",
  );
  return app;
}

/** A folder destination and the settings that name it. */
export function folderSettings(): { settings: Settings; bucket: ReturnType<typeof fileDestination> } {
  const bucket = fileDestination();
  return { settings: { "s3.bucket": `"${bucket.url}"` }, bucket };
}

/** The settings that name the in-process server. */
export function serverSettings(server: S3Server): Settings {
  const { accessKeyId, secretAccessKey } = server.options;
  return {
    "s3.bucket": '"s3://bucket/vm"',
    "s3.endpoint": `"${server.url}"`,
    "s3.access_key_id": `"${accessKeyId}"`,
    "s3.secret_access_key": `"${secretAccessKey}"`,
  };
}
