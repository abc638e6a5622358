/**
 * The trace of a run: a line for each event, with a running hash over all of them. Two runs of one seed have
 * equal hashes. The last lines are printed with a failure; with `onLine`, every line as it comes.
 */

const KEPT_LINES = 60;

/** Records the events of a run. */
export class Trace {
  readonly #lines: string[] = [];
  #hash = 0n;
  #count = 0;

  constructor(readonly onLine: ((line: string) => void) | null = null) {}

  /** Adds a line. */
  add(line: string): void {
    this.#count++;
    this.#hash = Bun.hash(line, this.#hash) as bigint;
    if (this.#lines.push(line) > KEPT_LINES * 2) this.#lines.splice(0, KEPT_LINES);
    this.onLine?.(line);
  }

  /** Adds a line that does not count for the hash. */
  note(line: () => string): void {
    this.onLine?.(line());
  }

  /** Whether every line is printed. */
  get isVerbose(): boolean {
    return this.onLine !== null;
  }

  /** Hash and number of the lines. */
  get digest(): string {
    return `${this.#hash.toString(16)}-${this.#count}`;
  }

  /** The last lines. */
  get lastLines(): readonly string[] {
    return this.#lines.slice(-KEPT_LINES);
  }
}
