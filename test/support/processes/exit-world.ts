/**
 * The surroundings of the failures in exit-cases.ts: a database, its backup, a server without buckets, and
 * functions that damage them.
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

/** The surroundings of one case: a folder with `app.db`, and `bucket` with a backup of `app.db`. */
export interface World {
  readonly folder: string;
  readonly database: string;
  readonly bucket: string;
  /** The option `-b` and the bucket. */
  readonly there: readonly string[];
  /** Options and environment of a server without buckets. */
  readonly nowhere: { readonly words: readonly string[]; readonly env: Variables };
}

/** Makes the surroundings. */
export async function makeWorld(): Promise<World & { readonly server: S3Server }> {
  const folder = tempFolder("exit");
  const database = join(folder, "app.db");
  const bucket = join(folder, "bucket");
  createAppDatabase(database);
  const there = ["-b", `file://${bucket}`];
  // A watch leaves a record of the database's path.
  const watch = await WatchProcess.start([database, ...there, "--no-metrics"]);
  await watch.waitForUploads(1);
  await watch.stop();
  const server = await S3Server.start();
  const words = ["-b", "s3://no-such-bucket/vm", "--endpoint", server.url];
  const { accessKeyId, secretAccessKey } = server.options;
  const env = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
  return { folder, database, bucket, there, nowhere: { words, env }, server };
}

/** The option `-b` and an altered copy of the bucket. */
export function altered({ bucket }: World, alter: (app: string) => void): string[] {
  const copy = join(tempFolder("altered"), "bucket");
  cpSync(bucket, copy, { recursive: true, preserveTimestamps: true });
  alter(join(copy, "app"));
  return ["-b", `file://${copy}`];
}

/** Path of the snapshot below the folder of a database's name. */
export function snapshotFile(app: string): string {
  const folder = join(app, "ltx", "9");
  return join(folder, readdirSync(folder).find((name) => name.endsWith(".ltx"))!);
}

/** Flips the byte in the middle of a file. */
export function flipByte(path: string): void {
  const bytes = readFileSync(path);
  bytes[bytes.length >> 1]! ^= 0xff;
  writeFileSync(path, bytes);
}

/** A database in rollback mode. */
export function rollbackDatabase({ folder }: World): string {
  const path = join(folder, "rollback.db");
  const database = new Database(path);
  database.run("CREATE TABLE IF NOT EXISTS t (id INTEGER)");
  database.close(true);
  return path;
}

/** A file beside the file that a restore has replaced there. */
export function replacedFile(folder: string): string {
  const path = join(folder, "undone.db");
  for (const suffix of ["", ".pre-restore-2026-03-01T12-00-00-000Z"]) writeFileSync(path + suffix, "");
  return path;
}

/** Writes a configuration file to a new folder. */
export function configFile(text: string): string {
  const path = join(tempFolder("config"), "walrust.toml");
  writeFileSync(path, text);
  return path;
}

/** Makes a named pipe. */
export function fifo(): string {
  const path = join(tempFolder("fifo"), "pipe");
  execFileSync("mkfifo", [path]);
  return path;
}
