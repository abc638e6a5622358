/**
 * Logs the uploads of `watch` as text: the first upload of each database, each snapshot, and then one line
 * for every ten seconds with uploads.
 */
import type { Env } from "../../env.ts";
import type { WatchEvent } from "../../replication/context/watch-events.ts";
import { formatBytes } from "../shared/output.ts";

const INTERVAL_MS = 10_000;

type Uploaded = Extract<WatchEvent, { event: "uploaded" }>;

/** Uploads since the last line, over all databases. */
export class UploadSummary {
  readonly #seen = new Set<string>();
  #count = 0;
  #bytes = 0;
  #databases = new Set<string>();
  #slowestMs = 0;
  #last: Uploaded | null = null;
  #sinceMs: number;

  constructor(readonly env: Env) {
    this.#sinceMs = env.monotonicMs();
  }

  /** Counts one upload, and logs the lines that are due. */
  add(event: Uploaded): void {
    if (event.kind === "snapshot" || !this.#seen.has(event.database)) {
      this.#seen.add(event.database);
      const what = event.kind === "snapshot" ? "snapshot uploaded" : "uploaded";
      const { database } = event;
      this.env.log.info(`${what}: TXID ${event.txid}, ${formatBytes(event.bytes)}`, { database });
      return;
    }
    this.#count++;
    this.#bytes += event.bytes;
    this.#databases.add(event.database);
    this.#slowestMs = Math.max(this.#slowestMs, event.lag_ms);
    this.#last = event;
    if (this.env.monotonicMs() - this.#sinceMs >= INTERVAL_MS) this.flush();
  }

  /** Logs the uploads since the last line, if there are any. */
  flush(): void {
    const last = this.#last;
    if (last !== null) {
      const uploads = this.#count === 1 ? "1 upload" : `${this.#count} uploads`;
      const what = `${uploads}, ${formatBytes(this.#bytes)}, slowest ${this.#slowestMs} ms`;
      if (this.#databases.size === 1) {
        this.env.log.info(`${what}, up to TXID ${last.txid}`, { database: last.database });
      } else {
        this.env.log.info(`${what}, of ${this.#databases.size} databases`);
      }
    }
    this.#count = 0;
    this.#bytes = 0;
    this.#databases.clear();
    this.#slowestMs = 0;
    this.#last = null;
    this.#sinceMs = this.env.monotonicMs();
  }
}
