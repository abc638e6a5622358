/** The usual scene of the pin's tests: a WAL database, an application in another process, a pin. */
import { join } from "node:path";
import { Pin } from "../../../src/database/pin/pin.ts";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { SqliteProcess } from "../processes/sqlite-process.ts";
import { tempFolder } from "../temp.ts";

/** The real clock with a silent log. */
export const env = systemEnv(SILENT_LOG);
const pins: Pin[] = [];
const apps: SqliteProcess[] = [];

/** Closes everything that a test opened; call it in afterEach. */
export async function closeAll(): Promise<void> {
  for (const pin of pins.splice(0)) pin.close();
  for (const app of apps.splice(0)) await app.kill();
}

/** Starts another application and runs statements in it. */
export async function start(path: string, ...statements: string[]): Promise<SqliteProcess> {
  const app = await SqliteProcess.open(path);
  apps.push(app);
  await app.must(...statements);
  return app;
}

/** A WAL database with one table and `rowCount` commits, and the application that has it open. */
export async function walDatabase(rowCount = 3): Promise<{ path: string; app: SqliteProcess }> {
  const path = join(tempFolder("pin"), "app.db");
  const app = await start(path, "PRAGMA journal_mode=WAL", "CREATE TABLE t(a)");
  for (let row = 0; row < rowCount; row++) await app.must(`INSERT INTO t VALUES (${row})`);
  return { path, app };
}

/** A pin that `closeAll` closes. */
export function pinned(path: string): Pin {
  const pin = Pin.open(path, env);
  pins.push(pin);
  return pin;
}
