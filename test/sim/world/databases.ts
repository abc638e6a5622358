/**
 * The databases of a run as the application knows them: whether they are open, the transaction that is under
 * way, and every image that was ever committed.
 *
 * Invariant: an image is registered before walrust can run again after the commit that made it.
 */
import { basename } from "node:path";
import { look } from "../seam/file-times.ts";
import type { Application, AppReply } from "./application.ts";
import type { Trace } from "./trace.ts";
import type { WalHints } from "./wal-hints.ts";

/** The settings of one database. */
export interface DatabasePlan {
  readonly name: string;
  readonly path: string;
  readonly pageSizeBytes: number;
  readonly autocheckpoint: number;
  /** synchronous=FULL: a power cut loses no commit. */
  readonly isFullySynced: boolean;
}

/** One database and its application. */
export class SimDatabase {
  /** Whether a connection may be open. */
  isOpen = false;
  /** The connection with a transaction that has written; null: none. */
  writer: string | null = null;
  /** Whether connection "r" holds a read transaction. */
  isReading = false;
  /** Whether somebody changed the files, and the application has not read them since. */
  isUnread = false;
  /** The image after the newest commit. */
  digest = "";
  /** Commits, checkpoints and the like so far. */
  changeCount = 0;
  /** By the digest of an image: which registration was the last of it. */
  readonly #committed = new Map<string, number>();
  #registrations = 0;

  constructor(
    readonly plan: DatabasePlan,
    readonly application: Application,
    readonly trace: Trace,
    readonly hints: () => WalHints | null,
  ) {}

  get path(): string {
    return this.plan.path;
  }

  /** Whether an image was ever committed. */
  isCommitted(digest: string): boolean {
    return this.#committed.has(digest);
  }

  /** How many images were registered so far. */
  get registrations(): number {
    return this.#registrations;
  }

  /** Whether an image was the newest one after so many registrations, or later. */
  isSince(digest: string | null, registrations: number): boolean {
    return digest !== null && (this.#committed.get(digest) ?? 0) >= registrations;
  }

  /** Makes the database. */
  create(): void {
    const { pageSizeBytes } = this.plan;
    this.#must("w", `PRAGMA page_size = ${pageSizeBytes}`, "PRAGMA journal_mode = WAL");
    this.#settle("w");
    this.#makeTables();
  }

  /** A power cut may have lost the tables. */
  #makeTables(): void {
    this.run(
      "w",
      "BEGIN",
      "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v BLOB)",
      "CREATE TABLE IF NOT EXISTS u(k INTEGER, w)",
      "CREATE INDEX IF NOT EXISTS i ON u(w)",
      "COMMIT",
    );
  }

  #settle(connection: string): void {
    const { autocheckpoint, isFullySynced } = this.plan;
    this.#must(
      connection,
      `PRAGMA wal_autocheckpoint = ${autocheckpoint}`,
      `PRAGMA synchronous = ${isFullySynced ? "FULL" : "NORMAL"}`,
    );
    this.isOpen = true;
  }

  #must(connection: string, ...statements: string[]): AppReply {
    const { path } = this;
    const reply = this.application.ask({ kind: "sql", path, connection, statements, wantsDigest: false });
    if (reply.code !== null) throw new Error(`${reply.code}: ${reply.message}: ${statements.join("; ")}`);
    return reply;
  }

  /** Runs statements on a connection, and registers the image that is committed after them. */
  run(connection: string, ...statements: string[]): AppReply {
    const { path } = this;
    const reply = this.application.ask({ kind: "sql", path, connection, statements, wantsDigest: true });
    if (reply.digest === null) throw new Error(`${basename(path)}: ${reply.message}`);
    this.changeCount++;
    this.#register(reply.digest);
    this.looked();
    this.hints()?.wrote(path, false);
    const text = statements.map((sql) => (sql.length > 60 ? `${sql.slice(0, 57)}…` : sql)).join("; ");
    this.trace.add(`  app ${this.plan.name} ${connection}: ${text} → ${reply.code ?? "ok"} ${this.digest}`);
    return reply;
  }

  /** Rolls a failed transaction of a connection back, if there is one. */
  rollback(connection: string): void {
    const { path } = this;
    this.application.ask({ kind: "sql", path, connection, statements: ["ROLLBACK"], wantsDigest: false });
    if (this.writer === connection) this.writer = null;
  }

  /** Closes all connections: the last close checkpoints, unless somebody holds a lock. */
  close(): void {
    this.application.ask({ kind: "close", path: this.path, connections: ["w", "x", "r"] });
    this.#closed("closes");
  }

  /** Kills the application of this database. */
  kill(): void {
    this.application.ask({ kind: "kill", path: this.path });
    this.#closed("is killed");
  }

  #closed(verb: string): void {
    this.isOpen = false;
    this.writer = null;
    this.isReading = false;
    this.looked();
    this.hints()?.wrote(this.path, true);
    this.trace.add(`  app ${this.plan.name} ${verb}`);
  }

  /**
   * Takes over the state that the files stand for, after somebody changed the files while they were closed.
   * The application may have to wait: as long as walrust holds the old -shm, SQLite believes it.
   */
  reread(): void {
    const { trace, plan } = this;
    const digest = this.peek(true);
    if (digest !== null) this.#register(digest);
    this.isUnread = true;
    this.looked();
    trace.add(`  ${plan.name} stands for ${digest}`);
    this.tryOpen();
  }

  /** The image that the files stand for, while nobody has them open. */
  peek(hasWal: boolean): string | null {
    return this.application.ask({ kind: "peek", path: this.path, hasWal }).digest;
  }

  /** Opens the database if SQLite can read it. @returns whether it is open */
  tryOpen(): boolean {
    if (this.isOpen && !this.isUnread) return true;
    const { path, plan } = this;
    const { autocheckpoint, isFullySynced } = plan;
    const statements = [
      `PRAGMA wal_autocheckpoint = ${autocheckpoint}`,
      `PRAGMA synchronous = ${isFullySynced ? "FULL" : "NORMAL"}`,
      "SELECT count(*) FROM sqlite_schema",
    ];
    const reply = this.application.ask({
      kind: "sql",
      path,
      connection: "w",
      statements,
      wantsDigest: false,
    });
    if (reply.code !== null) {
      this.trace.add(`  app ${plan.name} cannot open: ${reply.code}`);
      this.application.ask({ kind: "kill", path });
      return false;
    }
    this.isOpen = true;
    this.isUnread = false;
    this.run("w", "SELECT 1");
    this.#makeTables();
    return true;
  }

  #register(digest: string): void {
    this.digest = digest;
    this.#committed.set(digest, ++this.#registrations);
  }

  /** Gives the files that were written the present time. */
  looked(): void {
    look(`${this.path}-wal`);
    look(this.path);
  }
}
