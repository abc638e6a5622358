/**
 * A site: databases with their journalling writers, one watch over them, and one destination, all below one
 * folder. The drill and the chaos run kill and disturb it; this file starts it, and compares everything.
 */
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { settleDatabase } from "../comparison.ts";
import { CREDENTIALS, freePort } from "../gateway.ts";
import type { Observations } from "../observed/observations.ts";
import { type RestoreOutcome, restoreAll, type SourceDatabase, type Walrust } from "../restores.ts";
import { type Destination, destinationWords } from "../storage/destination.ts";
import { tomlText } from "../toml.ts";
import type { WatchSetup } from "../watch-process.ts";
import type { Workspace } from "../workspace.ts";
import { createJournalDatabase } from "./journal-rows.ts";
import { assertJournalled, JournalWriter } from "./journal-writer.ts";
import { unfinishedFiles } from "./local-files.ts";
import type { PlannedDatabase } from "./planned-databases.ts";

/** Everything that a site is made of. */
export interface SiteOptions {
  readonly workspace: Workspace;
  readonly binary: string;
  /** An empty or absent folder. */
  readonly folder: string;
  readonly destination: Destination;
  /** The destination without faults, for restores; `destination` by default. */
  readonly nearDestination?: Destination;
  readonly databases: readonly PlannedDatabase[];
  /** Sections of walrust.toml beside destination, state and metrics. */
  readonly sections: Readonly<Record<string, object>>;
  /** Additional environment of the watch. */
  readonly watchEnv?: Readonly<Record<string, string>>;
  /** The record of the watch's observers; null: nobody observes. */
  readonly observations: Observations | null;
}

/** One site. */
export class Site {
  readonly #options: SiteOptions;
  readonly sources: readonly SourceDatabase[];
  readonly writers: readonly JournalWriter[];
  readonly setup: WatchSetup;
  /** walrust's other verbs, at the destination without faults. */
  readonly walrust: Walrust;

  /** Makes the folder, the databases and the configuration. */
  constructor(options: SiteOptions) {
    const { workspace, binary, destination, nearDestination = destination, databases } = options;
    this.#options = options;
    for (const name of [".", "databases", "state", "run", "temp"]) {
      mkdirSync(join(options.folder, name), { recursive: true, mode: 0o700 });
    }
    this.sources = databases.map(({ name }) => ({ name, path: this.place(`databases/${name}.db`) }));
    for (const [index, { path }] of this.sources.entries()) createJournalDatabase(path, databases[index]!);
    this.writers = databases.flatMap(({ writers }, index) => {
      const { path } = this.sources[index]!;
      return writers.map((writer) => new JournalWriter(workspace, options.folder, { ...writer, path }));
    });
    const env = {
      AWS_ACCESS_KEY_ID: CREDENTIALS.accessKeyId,
      AWS_SECRET_ACCESS_KEY: CREDENTIALS.secretAccessKey,
      AWS_REGION: CREDENTIALS.region,
      // Socket and temporary files of walrust disappear with the site.
      RUNTIME_DIRECTORY: this.place("run"),
      TMPDIR: this.place("temp"),
    };
    const metricsPort = freePort();
    const configPath = this.place("walrust.toml");
    writeFileSync(configPath, this.#config(metricsPort), { mode: 0o600 });
    const metricsUrl = `http://127.0.0.1:${metricsPort}`;
    const { observations, watchEnv } = options;
    this.setup = { binary, configPath, env: { ...env, ...watchEnv }, metricsUrl, observations };
    this.walrust = { binary, env, destination: destinationWords(nearDestination) };
  }

  /** The names of all databases. */
  get names(): string[] {
    return this.sources.map(({ name }) => name);
  }

  /** Commits that the writers have journalled. */
  get commitCount(): number {
    return this.writers.reduce((sum, writer) => sum + writer.newest(), 0);
  }

  /** A path below the folder of the site. */
  place(name: string): string {
    return join(this.#options.folder, name);
  }

  /** Starts all writers, and waits until each has opened its database. */
  async startWriters(): Promise<void> {
    for (const writer of this.writers) writer.start();
    for (const writer of this.writers) await writer.ready();
  }

  /** Ends all writers after their transactions. @throws Error when one of them failed */
  async stopWriters(): Promise<void> {
    for (const writer of this.writers) await writer.stop();
  }

  /** @throws Error when the ended watch left unfinished files among its local files */
  assertNothingUnfinished(): void {
    const files = readdirSync(this.place("state"), { recursive: true, encoding: "utf8" });
    const unfinished = unfinishedFiles(files);
    if (unfinished.length > 0) throw new Error(`LEFT BEHIND: ${unfinished.join(", ")}`);
  }

  /**
   * Compares each database with the journals of its writers, restores it, and compares the restored bytes
   * with the database. No process may have a database open.
   */
  async compareAll(): Promise<RestoreOutcome> {
    for (const { path } of this.sources) {
      settleDatabase(path);
      const writers = this.writers.filter((writer) => writer.path === path);
      assertJournalled(path, writers);
    }
    return restoreAll(this.#options.workspace, this.walrust, this.sources);
  }

  #config(metricsPort: number): string {
    const { bucket, endpoint } = this.#options.destination;
    const own = {
      s3: { bucket, ...(endpoint === null ? {} : { endpoint }) },
      state: { path: this.place("state") },
      metrics: { port: metricsPort },
    };
    return tomlText(
      { ...own, ...this.#options.sections },
      this.sources.map(({ path }) => ({ path })),
    );
  }
}
