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
  /** Oldest first. Almost every database has one. */
  readonly #idsByName = new Map<string, readonly string[]>();

  /** The database with this name is written to with this id from here on. */
  add(name: string, writer: string): void {
    const others = (this.#idsByName.get(name) ?? []).filter((id) => id !== writer);
    this.#idsByName.set(name, [...others, writer].slice(-IDS_MAX));
  }

  /** Whether this process wrote to the database with this id. */
  has(name: string, writer: string | null): boolean {
    return writer !== null && this.#idsByName.get(name)?.includes(writer) === true;
  }
}
