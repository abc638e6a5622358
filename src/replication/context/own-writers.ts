/**
 * The writer ids that this process has written with, by database. An object with such an id is the process's
 * own, even if the local state that named the id is gone or lies beside another file.
 *
 * Only log lines depend on these ids. A state that begins anew gets a new id, so that two processes can be
 * distinguished.
 */

/** Bounds the memory for a state that is deleted again and again, or a name that is re-pointed daily. */
const IDS_MAX = 32;

/** The ids of all databases of one process. */
export class OwnWriters {
  /** Oldest first. Almost every database has one. */
  readonly #idsByName = new Map<string, readonly string[]>();

  /** Notes that this process writes to the database with this id from here on. */
  add(name: string, writer: string): void {
    const others = (this.#idsByName.get(name) ?? []).filter((id) => id !== writer);
    this.#idsByName.set(name, [...others, writer].slice(-IDS_MAX));
  }

  /** Whether this process wrote to the database with this id. */
  has(name: string, writer: string | null): boolean {
    return writer !== null && this.#idsByName.get(name)?.includes(writer) === true;
  }
}
