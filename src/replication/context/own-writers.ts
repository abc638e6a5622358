/**
 * The writer ids that one process has written with, by database: an object with one of them is this process's
 * own, though the local state that named the id is gone or lies beside another file.
 *
 * Only what is logged depends on it. A state that begins anew still gets a new id, so that two processes are
 * told apart as before.
 */

/** State that is deleted again and again, or a name that is re-pointed daily, must not fill the memory. */
const IDS_MAX = 32;

/** The ids of all databases of one process. */
export class OwnWriters {
  readonly #idsByName = new Map<string, Set<string>>();

  /** The database with this name is written to with this id from here on. */
  add(name: string, writer: string): void {
    const ids = this.#idsByName.get(name) ?? new Set();
    this.#idsByName.set(name, ids);
    ids.delete(writer);
    ids.add(writer);
    const [oldest] = ids;
    if (ids.size > IDS_MAX && oldest !== undefined) ids.delete(oldest);
  }

  /** Whether this process wrote to the database with this id. */
  has(name: string, writer: string | null): boolean {
    return writer !== null && this.#idsByName.get(name)?.has(writer) === true;
  }
}
