/**
 * The application of the simulator, as the process that owns the databases: reads a request per line from one
 * FIFO and answers with a line into another. Both sides block, so nothing ever happens at the same time, and
 * a run repeats.
 *
 * The image after a commit comes from a further connection that never writes: the cache of a connection that
 * writes may hold pages (free ones) with content that never reaches the disk.
 */
import { Database } from "bun:sqlite";
import { closeSync, copyFileSync, existsSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { SHARED_LENGTH, SHARED_START } from "../../../src/database/files/lock-bytes.ts";
import { lockShared } from "../../../src/database/files/ofd-lock.ts";
import { digestOf, imageOfBytes } from "../oracle/image.ts";
import type { AppReply, AppRequest } from "./application.ts";

interface Open {
  readonly connections: Map<string, Database>;
  oracle: Database | null;
}

const databases = new Map<string, Open>();

function openOf(path: string): Open {
  let open = databases.get(path);
  if (open === undefined) databases.set(path, (open = { connections: new Map(), oracle: null }));
  return open;
}

function connect(path: string): Database {
  const database = new Database(path, { create: true, readwrite: true });
  database.run("PRAGMA busy_timeout = 0");
  database.run("PRAGMA cache_size = 50");
  return database;
}

function connection(path: string, name: string): Database {
  const { connections } = openOf(path);
  let found = connections.get(name);
  if (found === undefined) connections.set(name, (found = connect(path)));
  return found;
}

function imageName(path: string): string {
  const open = openOf(path);
  open.oracle ??= connect(path);
  return digestOf(imageOfBytes(open.oracle.serialize()));
}

/** Closes connections; with the last one, the connection of the oracle goes first. */
function close(path: string, names: readonly string[]): void {
  const open = openOf(path);
  const isLast = [...open.connections.keys()].every((name) => names.includes(name));
  if (isLast) {
    open.oracle?.close();
    open.oracle = null;
  }
  for (const name of names) {
    open.connections.get(name)?.close();
    open.connections.delete(name);
  }
}

/**
 * Ends like a killed process: a lock of an open file description keeps SQLite from cleaning up, which only
 * the last connection does.
 */
function kill(path: string): void {
  const open = openOf(path);
  const fd = openSync(path, "r+");
  lockShared(fd, SHARED_START, SHARED_LENGTH);
  open.oracle?.close();
  for (const one of open.connections.values()) one.close();
  closeSync(fd);
  databases.delete(path);
}

/** Opens a copy, so that the files themselves stay as they are. */
function peek(path: string, hasWal: boolean): string {
  const copy = `${path}.peek`;
  copyFileSync(path, copy);
  if (hasWal && existsSync(`${path}-wal`)) copyFileSync(`${path}-wal`, `${copy}-wal`);
  const database = connect(copy);
  const digest = digestOf(imageOfBytes(database.serialize()));
  database.close();
  for (const suffix of ["", "-wal", "-shm"]) rmSync(`${copy}${suffix}`, { force: true });
  return digest;
}

function answer(request: AppRequest): AppReply {
  const { path } = request;
  const none = { code: null, message: "", rows: [], digest: null };
  switch (request.kind) {
    case "sql": {
      const database = connection(path, request.connection);
      let rows: unknown[][] = [];
      let code: string | null = null;
      let message = "";
      try {
        for (const sql of request.statements) {
          const statement = database.prepare(sql);
          try {
            rows = statement.values() as unknown[][];
          } finally {
            // An open statement would keep its connection open past the close.
            statement.finalize();
          }
        }
      } catch (error) {
        code = (error as { code?: string }).code ?? "ERROR";
        message = String(error);
      }
      return { code, message, rows, digest: request.wantsDigest ? imageName(path) : null };
    }
    case "close":
      close(path, request.connections);
      return none;
    case "kill":
      kill(path);
      return none;
    case "peek":
      return { ...none, digest: peek(path, request.hasWal) };
    case "copy":
      copyFileSync(path, request.to);
      return none;
    case "remove":
      for (const one of request.paths) rmSync(one, { force: true });
      return none;
    case "forget":
      for (const open of databases.values()) {
        open.oracle?.close();
        for (const one of open.connections.values()) one.close();
      }
      databases.clear();
      return none;
  }
}

const [requestPath = "", replyPath = ""] = process.argv.slice(2);
const input = openSync(requestPath, "r");
const output = openSync(replyPath, "w");
const buffer = new Uint8Array(1 << 16);
const decoder = new TextDecoder();
let text = "";
for (;;) {
  const count = readSync(input, buffer);
  if (count === 0) break;
  text += decoder.decode(buffer.subarray(0, count), { stream: true });
  for (let end = text.indexOf("\n"); end !== -1; end = text.indexOf("\n")) {
    const line = text.slice(0, end);
    text = text.slice(end + 1);
    writeSync(output, `${JSON.stringify(safeAnswer(JSON.parse(line) as AppRequest))}\n`);
  }
}

function safeAnswer(request: AppRequest): AppReply {
  try {
    return answer(request);
  } catch (error) {
    return {
      code: (error as { code?: string }).code ?? "ERROR",
      message: String(error),
      rows: [],
      digest: null,
    };
  }
}
