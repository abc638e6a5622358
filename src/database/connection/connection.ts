/**
 * Short-lived SQLite connections: for a recovery, a read mark, a checkpoint. None stays open between cycles.
 *
 * A connection never creates a database, nor files that others could not open (companion-files.ts), never
 * deletes a WAL when it closes (SQLITE_FCNTL_PERSIST_WAL), syncs what it checkpoints, and is counted from
 * open to close so that no raw descriptor is closed beside it (see descriptors.ts). It writes nothing of its
 * own: it begins write transactions only to roll them back.
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
import { assertCompanionsNotOurs, prepareCompanions } from "./companion-files.ts";
import { guardJournal } from "./journal-guard.ts";
import { requireBoundedSchema } from "./schema-size.ts";

/** How a connection behaves. */
export interface ConnectionOptions {
  /** How long SQLite's own busy handler waits for a lock, in ms; 0 for not at all. */
  readonly busyTimeoutMs: number;
  /** The file that must be opened; without it whichever is at the path. */
  readonly expected?: FileIdentity;
  /** Drops the caller's lock on the SHARED range, which keeps files that we made from being deleted. */
  readonly unlock?: () => void;
}

/** What `PRAGMA wal_checkpoint` answers. */
export interface CheckpointResult {
  /** Whether another checkpointer, writer or reader kept it from doing what was asked. */
  readonly isBusy: boolean;
  /**
   * Frames in the WAL, and how many of them are in the database file; -1 when another checkpointer is at
   * work.
   */
  readonly frameCount: number;
  readonly backfilled: number;
}

/** SQLite's codes for "somebody else is at it, try again". */
const BUSY_CODES = /^SQLITE_(BUSY|LOCKED|PROTOCOL)/;

/**
 * Opens a connection to the database at `path`. Nothing is read yet: SQLite opens -wal and -shm with the
 * first read, and applies the WAL of whatever file; so the caller judges it first (see wal-gate.ts).
 * @throws WalrustError "database" when there is no database, "database-busy" when it is being replaced just
 * now.
 */
export function openConnection(path: string, options: ConnectionOptions): Connection {
  const identity = fileIdentityOrNull(path);
  if (identity === null) {
    throw new WalrustError("database", `Cannot open ${path}: there is no such file`, { context: { path } });
  }
  const isGuest = prepareCompanions(path);
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
    if (isGuest) assertGuest(database, path, options.unlock);
    return new Connection(path, identity, database, files);
  } catch (error) {
    database?.close();
    files.release();
    releaseConnection(identity);
    throw connectionError(path, error);
  }
}

/** What keeps the files of a database from blocking SQLite, which opens some of them only when it reads. */
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
 * Opens -wal and -shm. If it was we who made them, they go again: the last connection to close deletes them.
 */
function assertGuest(database: Database, path: string, unlock?: () => void): void {
  database.run("PRAGMA user_version");
  try {
    assertCompanionsNotOurs(path);
  } catch (error) {
    database.fileControl(constants.SQLITE_FCNTL_PERSIST_WAL, 0);
    unlock?.();
    throw error;
  }
}

const movedAnswer = new Int32Array(2);

/** Whether the file that SQLite opened is no longer the one at its path. */
function hasMoved(database: Database): boolean {
  movedAnswer.fill(0);
  database.fileControl(constants.SQLITE_FCNTL_HAS_MOVED, movedAnswer);
  return movedAnswer[0] !== 0;
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
  #isSynchronous = false;

  constructor(
    readonly path: string,
    readonly identity: FileIdentity,
    private readonly database: Database,
    private readonly files: OpenFiles,
  ) {}

  /**
   * Begins a read transaction and holds it until `rollback`. The first read of a database does SQLite's
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

  /** Takes the write lock: nobody else can commit until `rollback`. False when somebody else holds it. */
  tryBeginImmediate(): boolean {
    try {
      this.database.run("BEGIN IMMEDIATE");
      this.files.firstReadDone();
      return true;
    } catch (error) {
      if (isBusyError(error)) return false;
      throw connectionError(this.path, error);
    }
  }

  /** Ends the open transaction, if any. */
  rollback(): void {
    if (this.database.inTransaction) this.#run("ROLLBACK");
  }

  /** A schema that SQLite could parse for minutes is refused. */
  requireBoundedSchema(): void {
    requireBoundedSchema(this.path, this.identity);
  }

  /**
   * Checkpoints with `synchronous=FULL`. PASSIVE blocks nobody; TRUNCATE takes the write lock, and with a
   * busy timeout of 0 gives up at once when anybody is in the way. Never FULL or RESTART.
   */
  checkpoint(mode: "PASSIVE" | "TRUNCATE"): CheckpointResult {
    this.requireBoundedSchema();
    if (!this.#isSynchronous) {
      this.#run("PRAGMA synchronous = FULL");
      this.#isSynchronous = true;
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

  /** Closes the connection; safe to call again. Never checkpoints while the database is pinned. */
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

/** Whether SQLite refused because of somebody else's lock. */
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
  const isClosed = code === "SQLITE_CANTOPEN";
  const hint = "walrust must be able to read and write its -wal and -shm too: look at their owner and group";
  return new WalrustError("database", `Cannot use ${path}: SQLite says ${message}`, {
    ...(isClosed ? { hint } : {}),
    context: { path, sqlite: code },
    cause: error,
  });
}
