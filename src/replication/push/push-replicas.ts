/**
 * Pushes the captured files of all databases of a watch to its replicas: one line for each database and
 * replica. Captures and uploads offer their files and never wait.
 *
 * Memory: a record for each line, at most `RECENT_MAX` references to captured files for each database, and
 * eight bodies of up to 64 KB for each replica.
 */
import type { Env } from "../../env.ts";
import { isChainLink } from "../../format/chain.ts";
import type { SpoolFile } from "../../local/spool.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import type { Pushing, PushSource, PushStatus } from "../context/pushing.ts";
import { type PushContext, type PushedDatabase, PushLine } from "./push-line.ts";
import { PushPeer, type PushPeerOptions } from "./push-peer.ts";

/** A database gets at most one snapshot for its replicas in this time. */
const SNAPSHOT_PAUSE_MS = 600_000;
/** The newest files of a database that a line finds without a search in the spool. */
const RECENT_MAX = 8;

/** The input of the pushes. */
export interface PushInput {
  readonly peers: readonly PushPeerOptions[];
  readonly store: ObjectStore;
  readonly env: Env;
  readonly version: string;
  readonly onAcknowledged?: PushContext["onAcknowledged"];
}

interface Pushed extends PushedDatabase {
  readonly recent: SpoolFile[];
  readonly lines: readonly PushLine[];
  /** The newest TXID that was offered. */
  offeredTxid: number;
  /** When a snapshot was requested (monotonic). */
  snapshotMs: number;
}

const NONE: readonly PushStatus[] = [];

/** The pushes of one watch. */
export class PushReplicas implements Pushing {
  readonly #end = new AbortController();
  readonly #peers: readonly PushPeer[];
  readonly #context: PushContext;
  readonly #databases = new Map<string, Pushed>();
  /** Takes a snapshot of a database; the watch sets it. */
  onSnapshotNeeded: ((database: string) => void) | null = null;

  constructor({ peers, store, env, version, onAcknowledged = () => {} }: PushInput) {
    const { signal } = this.#end;
    this.#peers = peers.map((options) => new PushPeer(options, env, signal));
    for (const peer of this.#peers) peer.onRestart = () => this.#restart(peer);
    const onSnapshotNeeded = (database: string): void => this.#requestSnapshot(database);
    this.#context = { store, env, version, signal, onAcknowledged, onSnapshotNeeded };
  }

  offer(source: PushSource): void {
    if (this.#end.signal.aborted) return;
    const txid = source.state?.txid ?? 0;
    const known = this.#databases.get(source.name);
    if (known?.source === source && known.offeredTxid === txid) return;
    const database = known ?? this.#add(source);
    // Another history may begin with other files for the same TXIDs.
    if (database.source !== source || txid < database.offeredTxid) database.recent.length = 0;
    database.source = source;
    const lastTxid = database.recent.at(-1)?.maxTxid ?? 0;
    for (const file of source.pending.slice(-RECENT_MAX))
      if (isChainLink(file) && file.maxTxid > lastTxid) database.recent.push(file);
    database.recent.splice(0, database.recent.length - RECENT_MAX);
    database.offeredTxid = txid;
    for (const line of database.lines) line.wake();
  }

  statusOf(database: string): readonly PushStatus[] {
    return this.#databases.get(database)?.lines.map((line) => line.status()) ?? NONE;
  }

  /** A database left the watch: its lines end with what they do. */
  forget(database: string): void {
    for (const line of this.#databases.get(database)?.lines ?? []) line.leave();
    this.#databases.delete(database);
  }

  /**
   * Waits until each replica that answers has everything, at most for `timeoutMs`, then ends the pushes. A
   * replica that does not answer gets the rest from the next watch.
   */
  async finish(timeoutMs: number): Promise<void> {
    const lines = [...this.#databases.values()].flatMap((database) => database.lines);
    const open = lines.filter((line) => !line.isFailing && !line.isCurrent);
    const sent = new AbortController();
    const all = Promise.all(open.map((line) => line.done())).then(() => sent.abort());
    await Promise.race([all, this.#context.env.sleep(timeoutMs, sent.signal)]);
    sent.abort();
    await this.close();
  }

  async close(): Promise<void> {
    this.#end.abort();
    const lines = [...this.#databases.values()].flatMap((database) => database.lines);
    await Promise.all(lines.map((line) => line.done()));
    for (const peer of this.#peers) peer.close();
  }

  #restart(peer: PushPeer): void {
    for (const { lines } of this.#databases.values())
      for (const line of lines) if (line.peer === peer) line.restart();
  }

  #requestSnapshot(name: string): void {
    const database = this.#databases.get(name);
    const nowMs = this.#context.env.monotonicMs();
    if (database === undefined || nowMs - database.snapshotMs < SNAPSHOT_PAUSE_MS) return;
    database.snapshotMs = nowMs;
    this.onSnapshotNeeded?.(name);
  }

  #add(source: PushSource): Pushed {
    const lines: PushLine[] = [];
    const database: Pushed = {
      source,
      recent: [],
      lines,
      offeredTxid: -1,
      snapshotMs: Number.NEGATIVE_INFINITY,
    };
    for (const peer of this.#peers) lines.push(new PushLine(database, peer, this.#context));
    this.#databases.set(source.name, database);
    return database;
  }
}
