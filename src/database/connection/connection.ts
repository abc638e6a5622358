/**
 * Short-lived SQLite connections: for a recovery, a read mark, a checkpoint. None stays open between cycles.
 *
 * Guarantees of a connection:
 * 1. It creates no database, and no file that the application could not open (companion-files.ts).
 * 2. It does not delete the WAL when it closes (SQLITE_FCNTL_PERSIST_WAL), and syncs its checkpoints.
 * 3. It is counted from before it opens until after it has closed, so that no raw descriptor closes beside it
 *    (descriptors.ts).
 * 4. It writes no content: it rolls back every write transaction.
 */
import { constants, Database, SQLiteError } from "bun:sqlite";
import { WalrustError } from "../../errors.ts";
import {
  type FileIdentity,
  fileIdentityOrNull,
  holdFiles,
  isSameFile,
  releaseConnection,
  retainConnection,
} from "../files/descriptors.ts";
import { folderHintOrNull } from "../files/regular-file.ts";
import { assertCompanionsNotOurs, prepareCompanions } from "./companion-files.ts";
import { guardJournal } from "./journal-guard.ts";
import { requireBoundedSchema } from "./schema-size.ts";

/** Options of a connection. */
export interface ConnectionOptions {
  /** How long SQLite's busy handler waits for a lock, in ms; 0 does not wait. */
  readonly busyTimeoutMs: number;
  /** The identity of the file to open; any file at the path if absent. */
  readonly expected?: FileIdentity;
  /** Drops the caller's lock on the SHARED range, so that SQLite can delete files that it made for us. */
  readonly unlock?: () => void;
}

/** The result of `PRAGMA wal_checkpoint`. */
export interface CheckpointResult {
  /** Whether another checkpointer, writer or reader kept the checkpoint from completing. */
  readonly isBusy: boolean;
  /** Frames in the WAL, and how many of them the database file holds; -1 while another checkpointer runs. */
  readonly frameCount: number;
  readonly backfilled: number;
}

/** SQLite's codes for a lock of another connection: try again. */
const BUSY_CODES = /^SQLITE_(BUSY|LOCKED|PROTOCOL)/;

/**
 * Opens a connection to the database at `path`. It reads nothing yet. SQLite opens -wal and -shm with the
 * first read and applies the WAL without checking whose it is, so the caller judges the WAL first
 * (wal-gate.ts).
 * @throws WalrustError "database" when the database is missing, "database-busy" when it is being replaced
 */
export function openConnection(path: string, options: ConnectionOptions): Connection {
  const identity = fileIdentityOrNull(path);
  if (identity === null) {
    throw new WalrustError("database", `Cannot open ${path}: there is no such file`, { context: { path } });
  }
  const mustNotCreate = prepareCompanions(path);
  retainConnection(identity);
  let database: Database | null = null;
  let files: OpenFiles = { firstReadDone: () => {}, release: () => {} };
  try {
    if (options.expected !== undefined && !isSameFile(identity, options.expected)) throw movedError(path);
    files = openFiles(path, identity);
    database = new Database(path, { readwrite: true, create: false });
    if (hasMoved(database) || !isSameFile(fileIdentityOrNull(path), identity)) throw movedError(path);
    database.fileControl(constants.SQLITE_FCNTL_PERSIST_WAL, 1);
    database.run(`PRAGMA busy_timeout = ${Math.trunc(options.busyTimeoutMs)}`);
    if (mustNotCreate) requireNothingCreated(database, path, options.unlock);
    return new Connection(path, identity, database, files);
  } catch (error) {
    database?.close();
    files.release();
    releaseConnection(identity);
    throw connectionError(path, error);
  }
}

/** The open files that keep SQLite from blocking; SQLite opens some of them only with the first read. */
interface OpenFiles {
  readonly firstReadDone: () => void;
  readonly release: () => void;
}

function openFiles(path: string, identity: FileIdentity): OpenFiles {
  const { databaseFd, journalFd, release } = holdFiles(path, identity);
  const firstReadDone = guardJournal(databaseFd, journalFd);
  return {
    firstReadDone,
    release: () => {
      firstReadDone();
      release();
    },
  };
}

/**
 * Lets SQLite open -wal and -shm. If SQLite had to make them, our connection deletes them again when it
 * closes as the last one.
 * @throws WalrustError "database-busy" when SQLite made them
 */
function requireNothingCreated(database: Database, path: string, unlock?: () => void): void {
  database.run("PRAGMA user_version");
  try {
    assertCompanionsNotOurs(path);
  } catch (error) {
    database.fileControl(constants.SQLITE_FCNTL_PERSIST_WAL, 0);
    unlock?.();
    throw error;
  }
}

const hasMovedResult = new Int32Array(2);

/** Whether another file is at the path than SQLite opened. */
function hasMoved(database: Database): boolean {
  hasMovedResult.fill(0);
  database.fileControl(constants.SQLITE_FCNTL_HAS_MOVED, hasMovedResult);
  return hasMovedResult[0] !== 0;
}

function movedError(path: string): WalrustError {
  return new WalrustError("database-busy", `Cannot open ${path}: it was replaced while it was opened`, {
    retryable: true,
    context: { path },
  });
}

/** One open SQLite connection. Every method throws WalrustError "database-busy" (retryable) or "database". */
export class Connection {
  #isOpen = true;
  /** Whether the schema is bounded, and `synchronous` set: once for the short life of a connection. */
  #mayCheckpoint = false;

  constructor(
    readonly path: string,
    readonly identity: FileIdentity,
    private readonly database: Database,
    private readonly files: OpenFiles,
  ) {}

  /**
   * Begins a read transaction, which lasts until `rollback`. The first read of a database runs SQLite's
   * recovery. Reading the user version takes a read mark without parsing the schema.
   */
  beginRead(): void {
    this.#run("BEGIN");
    try {
      this.#run("PRAGMA user_version");
    } catch (error) {
      this.rollback();
      throw error;
    }
    this.files.firstReadDone();
  }

  /** Ends the open transaction, if any. */
  rollback(): void {
    if (this.database.inTransaction) this.#run("ROLLBACK");
  }

  /** Refuses a schema that SQLite would parse for minutes. */
  requireBoundedSchema(): void {
    requireBoundedSchema(this.path, this.identity);
  }

  /**
   * Checkpoints with `synchronous=FULL`. PASSIVE blocks no other connection. TRUNCATE takes the write lock;
   * with a busy timeout of 0 it gives up at once when another connection blocks it. Never FULL or RESTART.
   */
  checkpoint(mode: "PASSIVE" | "TRUNCATE"): CheckpointResult {
    if (!this.#mayCheckpoint) {
      this.requireBoundedSchema();
      this.#run("PRAGMA synchronous = FULL");
      this.#mayCheckpoint = true;
    }
    try {
      const statement = this.database.prepare<Record<string, number>, []>(`PRAGMA wal_checkpoint(${mode})`);
      try {
        const row = statement.get();
        this.files.firstReadDone();
        return {
          isBusy: row?.["busy"] !== 0,
          frameCount: row?.["log"] ?? -1,
          backfilled: row?.["checkpointed"] ?? -1,
        };
      } finally {
        statement.finalize();
      }
    } catch (error) {
      throw connectionError(this.path, error);
    }
  }

  /** Closes the connection; safe to call again. The close never checkpoints while the database is pinned. */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    try {
      this.database.close(true);
    } catch (error) {
      throw connectionError(this.path, error);
    } finally {
      this.files.release();
      releaseConnection(this.identity);
    }
  }

  #run(sql: string): void {
    try {
      this.database.run(sql);
    } catch (error) {
      throw connectionError(this.path, error);
    }
  }
}

/** Whether SQLite refused because of a lock of another connection. */
function isBusyError(error: unknown): boolean {
  return error instanceof SQLiteError && BUSY_CODES.test(error.code ?? "");
}

function connectionError(path: string, error: unknown): WalrustError {
  if (error instanceof WalrustError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof SQLiteError ? (error.code ?? "") : "";
  if (isBusyError(error)) {
    return new WalrustError("database-busy", `Cannot use ${path} now: ${message}`, {
      retryable: true,
      context: { path, sqlite: code },
      cause: error,
    });
  }
  const isUnopenable = code === "SQLITE_CANTOPEN";
  const isReadOnly = code.startsWith("SQLITE_READONLY");
  const companions = "Check owner and group of its -wal and -shm: walrust needs to read and write them, too";
  const hint = isUnopenable || isReadOnly ? (folderHintOrNull(path) ?? companions) : undefined;
  return new WalrustError("database", `Cannot use ${path}: SQLite reports ${message}`, {
    ...(hint === undefined ? {} : { hint }),
    context: { path, sqlite: code },
    cause: error,
  });
}
