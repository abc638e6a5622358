/** A replica that follows a store inside the test's process, with its events and the content of its file. */
import { expect } from "bun:test";
import type { Env } from "../../../src/env.ts";
import { replicate } from "../../../src/recovery/replica/replica.ts";
import type { ReplicaEvent } from "../../../src/recovery/replica/replica-file.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { imageOf } from "../oracles/database-image.ts";
import { waitUntil } from "../processes/sqlite-process.ts";
import { recordingEnv } from "../recording-log.ts";

/** Settings of a run; each has a default. */
export interface ReplicaRunOptions {
  readonly name?: string;
  readonly source?: string;
  readonly isOnce?: boolean;
  readonly env?: Partial<Env>;
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

/** One run of replicate. */
export class ReplicaRun {
  readonly events: ReplicaEvent[] = [];
  readonly #aborter = new AbortController();
  readonly #ended: Promise<void>;
  #failure: unknown = null;
  #isOver = false;

  constructor(store: ObjectStore, localPath: string, options: ReplicaRunOptions = {}) {
    const { name = "app", source = `${store.url}/${name}`, isOnce = false } = options;
    const request = { name, source, localPath, intervalMs: 5, isOnce };
    const { env } = recordingEnv(options.env);
    const emit = (event: ReplicaEvent): void => {
      this.events.push(event);
    };
    const { onProgress } = options;
    const context = { store, env, signal: this.#aborter.signal, emit, onProgress };
    this.#ended = replicate(request, context).catch((error) => {
      this.#failure = error;
    });
    void this.#ended.then(() => {
      this.#isOver = true;
    });
  }

  /** The TXID that readers see. */
  get txid(): number {
    return this.events.findLast(({ event }) => event !== "failed" && event !== "waiting")?.txid ?? 0;
  }

  eventsOf(event: ReplicaEvent["event"]): ReplicaEvent[] {
    return this.events.filter((one) => one.event === event);
  }

  /** Waits for a condition. @throws the error that ended the run, or Error at the time limit */
  async waitFor(condition: () => boolean): Promise<void> {
    await waitUntil(() => this.#isOver || condition());
    if (!condition()) throw this.#failure ?? new Error("the replica ended");
  }

  async waitForTxid(txid: number): Promise<void> {
    await this.waitFor(() => this.txid >= txid);
  }

  /** Stops the run. @throws the error of a failed run */
  async stop(): Promise<void> {
    this.#aborter.abort();
    await this.end();
  }

  /** Waits for the end of the run. @throws the error of a failed run */
  async end(): Promise<void> {
    await this.#ended;
    if (this.#failure !== null) throw this.#failure;
  }
}

/** Brings a replica up to date. @throws WalrustError as replicate does */
export async function replicateOnce(
  store: ObjectStore,
  localPath: string,
  options: ReplicaRunOptions = {},
): Promise<ReplicaEvent[]> {
  const run = new ReplicaRun(store, localPath, { ...options, isOnce: true });
  await run.end();
  return run.events;
}

/** Expects the replica to have exactly these bytes. */
export function expectContent(path: string, image: Buffer | undefined): void {
  expect(imageOf(path).equals(image!)).toBe(true);
}
