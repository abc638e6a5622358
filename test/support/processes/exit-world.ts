/**
 * What the failures of exit-cases.ts happen in: a database, its backup, a server that knows no bucket, and
 * what is done to them.
 */

import { Database } from "bun:sqlite";
import { execFileSync } from "node:child_process";
import { cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createAppDatabase } from "../histories/app-rows.ts";
import { S3Server } from "../servers/s3-server.ts";
import { tempFolder } from "../temp.ts";
import type { Variables } from "./binary.ts";
import { WatchProcess } from "./watch-process.ts";

/** What a case runs in: a folder with `app.db`, and `bucket`, which has a backup of it. */
export interface World {
  readonly folder: string;
  readonly database: string;
  readonly bucket: string;
  /** `-b` and the bucket. */
  readonly there: readonly string[];
  /** A server that knows no bucket: options and environment. */
  readonly nowhere: { readonly words: readonly string[]; readonly env: Variables };
}

/** Makes the world. */
export async function makeWorld(): Promise<World & { readonly server: S3Server }> {
  const folder = tempFolder("exit");
  const database = join(folder, "app.db");
  const bucket = join(folder, "bucket");
  createAppDatabase(database);
  const there = ["-b", `file://${bucket}`];
  // A watch leaves word of where the database is.
  const watch = await WatchProcess.start([database, ...there, "--no-metrics"]);
  await watch.waitForUploads(1);
  await watch.stop();
  const server = await S3Server.start();
  const words = ["-b", "s3://no-such-bucket/vm", "--endpoint", server.url];
  const { accessKeyId, secretAccessKey } = server.options;
  const env = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
  return { folder, database, bucket, there, nowhere: { words, env }, server };
}

/** A copy of the bucket that something was done to. */
export function altered({ bucket }: World, alter: (app: string) => void): string[] {
  const copy = join(tempFolder("altered"), "bucket");
  cpSync(bucket, copy, { recursive: true, preserveTimestamps: true });
  alter(join(copy, "app"));
  return ["-b", `file://${copy}`];
}

/** The snapshot of a backup, by the folder of its name. */
export function snapshotFile(app: string): string {
  const folder = join(app, "ltx", "9");
  return join(folder, readdirSync(folder).find((name) => name.endsWith(".ltx"))!);
}

/** Damages a file in its middle. */
export function flipByte(path: string): void {
  const bytes = readFileSync(path);
  bytes[bytes.length >> 1]! ^= 0xff;
  writeFileSync(path, bytes);
}

/** A database that is not in WAL mode. */
export function rollbackDatabase({ folder }: World): string {
  const path = join(folder, "rollback.db");
  const database = new Database(path);
  database.run("CREATE TABLE IF NOT EXISTS t (id INTEGER)");
  database.close(true);
  return path;
}

/** A configuration file of its own. */
export function configFile(text: string): string {
  const path = join(tempFolder("config"), "walrust.toml");
  writeFileSync(path, text);
  return path;
}

/** A pipe with a name. */
export function fifo(): string {
  const path = join(tempFolder("fifo"), "pipe");
  execFileSync("mkfifo", [path]);
  return path;
}
