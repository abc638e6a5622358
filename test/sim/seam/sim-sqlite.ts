/**
 * `bun:sqlite` as the sources see it in the simulator: every call passes the gate, and open connections are
 * registered. A busy handler never waits: nobody else acts while SQLite sleeps, so a wait would be in vain.
 */
import { Database as RealDatabase } from "bun:sqlite";
import { operate } from "./gate.ts";
import { connected, disconnected } from "./process-files.ts";

export { constants, SQLiteError } from "bun:sqlite";

type Options = ConstructorParameters<typeof RealDatabase>[1];

/** A connection behind the gate. */
export class Database extends RealDatabase {
  readonly #path: string;

  constructor(path: string, options?: Options) {
    operate("sqlite open", path, false, () => {});
    super(path, options);
    this.#path = path;
    connected(this);
  }

  #operate<T>(sql: string, work: () => T): T {
    const isWrite = /wal_checkpoint|IMMEDIATE/.test(sql);
    return operate(`sqlite ${sql}`, this.#path, isWrite, work);
  }

  override run(sql: string): ReturnType<RealDatabase["run"]> {
    const timeless = sql.replace(/busy_timeout = \d+/, "busy_timeout = 0");
    return this.#operate(sql, () => super.run(timeless));
  }

  override prepare: RealDatabase["prepare"] = (sql: string, ...rest) => {
    const statement = super.prepare(sql, ...rest);
    const get = statement.get.bind(statement) as (...parameters: unknown[]) => unknown;
    return Object.assign(statement, {
      get: (...parameters: unknown[]) => this.#operate(sql, () => get(...parameters)),
    }) as never;
  };

  override close(throwOnError?: boolean): void {
    operate("sqlite close", this.#path, false, () => {
      disconnected(this);
      super.close(throwOnError);
    });
  }

  /** Closes the connection of a crashed process, past the gate. */
  closeForCrash(): void {
    try {
      if (this.inTransaction) super.run("ROLLBACK");
    } finally {
      super.close(false);
    }
  }
}
