/**
 * Brings one replica to the newest captured state of one database, file after file, in the order of TXIDs.
 *
 * Invariants:
 * 1. One request is under way. The next file is chosen by the position that the replica last answered, so
 *    nothing is skipped, and a file whose answer was lost is not applied twice.
 * 2. Nothing waits for a line, and it holds no captured file: what is gone from the spool comes from the
 *    bucket.
 * 3. A line without news holds no timer. After a failure it tries again, after growing waits.
 */
import type { Env } from "../../env.ts";
import { hasCode, WalrustError } from "../../errors.ts";
import { formatChecksum } from "../../format/ltx.ts";
import type { PushedName, PushPosition, PushReply } from "../../format/push.ts";
import type { SpoolFile } from "../../local/spool.ts";
import { linkAfterOrNull } from "../../local/spool-cache.ts";
import { listObjects } from "../../storage/bucket/catalog.ts";
import { Backoff } from "../../storage/contract/backoff.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { Trouble } from "../../storage/contract/trouble.ts";
import type { PushSource, PushStatus } from "../context/pushing.ts";
import { furthestOrNull, nextObjectOrNull, type PushStep, planPush } from "./plan-push.ts";
import { bucketContent, type PushContent, spoolContentOrNull } from "./push-content.ts";
import type { PushPeer } from "./push-peer.ts";

/** The wait while a replica reads its own bucket. */
const BUSY_MS = 500;
/** The body of a request that only shows a gap: the replica refuses it by its TXID. */
const NOTHING: PushContent = { sizeBytes: 0, metadata: {}, body: new Uint8Array(0) };
const WAITS = { firstMs: 100, maxMs: 30_000 };

/** The captures of a database, as its lines share them. */
export interface PushedDatabase {
  /** The newest captures. */
  source: PushSource;
  /** The newest links, oldest first. */
  readonly recent: readonly SpoolFile[];
}

/** The surroundings that all lines share. */
export interface PushContext {
  readonly store: ObjectStore;
  readonly env: Env;
  readonly version: string;
  readonly signal: AbortSignal;
  /** Only a new snapshot helps a replica. */
  readonly onSnapshotNeeded: (database: string) => void;
  /** A replica has acknowledged a TXID. */
  readonly onAcknowledged: (database: string, replica: string, txid: number) => void;
}

/** One database on its way to one replica. */
export class PushLine {
  #position: PushPosition | null = null;
  #isRunning = false;
  #isWoken = false;
  #hasLeft = false;
  /** The replica refused a file because it has another history. */
  #isDiverged = false;
  /** The TXID at which the replica was shown that it has a gap. */
  #shownTxid = -1;
  /** The spool has no usable file at this TXID. */
  #withoutSpoolTxid = -1;
  readonly #backoff = new Backoff(WAITS);
  readonly #trouble: Trouble;
  #ended: Promise<void> = Promise.resolve();

  constructor(
    readonly database: PushedDatabase,
    readonly peer: PushPeer,
    readonly context: PushContext,
  ) {
    const what = `push to ${peer.url}`;
    this.#trouble = new Trouble(context.env, { database: database.source.name, what });
  }

  /** Files may be new. */
  wake(): void {
    this.#isWoken = true;
    if (!this.#isRunning) this.#ended = this.#run();
  }

  /** Another run of the server answers: asks for the position again. */
  restart(): void {
    this.#position = null;
    this.wake();
  }

  /** The database left the watch: the line ends with its next step. */
  leave(): void {
    this.#hasLeft = true;
  }

  /** The newest TXID that the replica has acknowledged; null before its first answer. */
  get txid(): number | null {
    return this.#position?.txid ?? null;
  }

  /** Whether the replica has everything that is captured. */
  get isCurrent(): boolean {
    const { state } = this.database.source;
    return this.#failure === null && this.#position !== null && this.#position.txid === (state?.txid ?? 0);
  }

  get isFailing(): boolean {
    return this.#failure !== null;
  }

  get #failure(): string | null {
    return this.peer.failure ?? this.#trouble.current?.message ?? null;
  }

  status(): PushStatus {
    const message = this.#failure;
    const state = message !== null ? "failing" : this.isCurrent ? "current" : "behind";
    return { replica: this.peer.url, txid: this.txid, state, message };
  }

  /** Resolves when nothing is under way. */
  async done(): Promise<void> {
    await this.#ended;
  }

  async #run(): Promise<void> {
    const { env, signal } = this.context;
    this.#isRunning = true;
    while (!signal.aborted && !this.#hasLeft) {
      this.#isWoken = false;
      let waitMs: number | null;
      try {
        waitMs = await this.#round();
      } catch (error) {
        waitMs = this.#failed(error);
      }
      if (waitMs === null && !this.#isWoken) break;
      if (waitMs !== null && waitMs > 0) await env.sleep(waitMs, signal);
    }
    this.#isRunning = false;
  }

  /** One step. @returns the wait before the next one in ms; null: there is nothing to do */
  async #round(): Promise<number | null> {
    if (this.#position === null) this.#moved((await this.peer.position(this.database.source.name)).position);
    // A restart of the server may take the position away at any await.
    const position = this.#position;
    if (position === null) return 0;
    const step = this.#plan(position);
    switch (step.kind) {
      case "idle":
        this.#isDiverged = false;
        this.#recovered();
        return null;
      case "wait":
        this.#position = null;
        return BUSY_MS;
      case "foreign":
        return this.#foreign(position);
      case "send":
        return this.#sendFile(step.file, position);
      case "show": {
        this.#shownTxid = position.txid;
        const object = { level: 0, minTxid: step.txid, maxTxid: step.txid };
        return this.#send(object, NOTHING, position, false);
      }
      case "from-bucket":
        return this.#sendFromBucket(position);
    }
  }

  #plan(position: PushPosition): PushStep<SpoolFile> {
    const { source, recent } = this.database;
    const { txid } = position;
    const { state, paths } = source;
    const isBehind = state !== null && txid < state.txid;
    const isInSpool = isBehind && this.#withoutSpoolTxid !== txid;
    const known = isInSpool ? furthestOrNull([...recent, ...source.pending.filter(isLink)], txid) : null;
    const next = known ?? (isInSpool ? linkAfterOrNull(paths.spoolFolder, txid) : null);
    return planPush({
      position,
      headTxid: state?.txid ?? 0,
      headChecksum: state === null ? null : formatChecksum(state.checksum),
      next,
      isDiverged: this.#isDiverged,
      isShown: this.#shownTxid === txid,
    });
  }

  async #sendFile(file: SpoolFile, position: PushPosition): Promise<number | null> {
    const { source } = this.database;
    const author = { writer: source.state?.writer ?? "", version: this.context.version };
    const content = await spoolContentOrNull(file, author);
    if (content === null) {
      this.#withoutSpoolTxid = position.txid;
      return 0;
    }
    return this.#send(file, content, position, true);
  }

  async #sendFromBucket(position: PushPosition): Promise<number | null> {
    const { store, signal } = this.context;
    const { name } = this.database.source;
    const { txid } = position;
    const objects = await listObjects(store, name, signal);
    const object = nextObjectOrNull(objects, txid, this.#isDiverged);
    if (object === null) return this.#nothingLeads(txid);
    return this.#send(object, await bucketContent(store, object, signal), position, false);
  }

  /** Sends one object. @returns as `#round` */
  async #send(
    { level, minTxid, maxTxid }: PushedName,
    content: PushContent,
    { txid: before }: PushPosition,
    isOfSpool: boolean,
  ): Promise<number | null> {
    const object: PushedName = { level, minTxid, maxTxid };
    const reply = await this.peer.send(this.database.source.name, object, content);
    this.#moved(reply.position);
    if (reply.refused === null) {
      this.#isDiverged = false;
      this.#recovered();
      return 0;
    }
    return this.#refused(reply, before, isOfSpool);
  }

  #refused({ refused, message, position }: PushReply, before: number, isOfSpool: boolean): number | null {
    if (position.txid > before) return 0;
    if (refused === "busy") return BUSY_MS;
    if (refused === "gap" && this.#shownTxid === before) return 0;
    // The next look is at the replica: somebody else may have moved it.
    this.#position = null;
    if (refused === "old") return BUSY_MS;
    if (refused === "diverged" && !this.#isDiverged) {
      this.#isDiverged = true;
      return 0;
    }
    if (refused === "unsound" && isOfSpool) this.#withoutSpoolTxid = before;
    return this.#failed(refusal(message ?? `the replica answered ${refused}`));
  }

  #nothingLeads(txid: number): number {
    this.#position = null;
    this.context.onSnapshotNeeded(this.database.source.name);
    const found = `nothing leads from TXID ${txid} of the replica to the newest state`;
    return this.#failed(refusal(`${found}; the next snapshot does`));
  }

  /**
   * The replica holds a state that this history does not have. Once this one has passed it, a snapshot
   * replaces it.
   */
  #foreign({ txid }: PushPosition): null {
    this.#isDiverged = true;
    const found = `the replica holds TXID ${txid} of another history, and this one has not passed it`;
    this.#trouble.failed(refusal(found));
    return null;
  }

  #moved(position: PushPosition): void {
    const { name } = this.database.source;
    const before = this.#position?.txid ?? 0;
    this.#position = position;
    if (position.txid !== before) this.context.onAcknowledged(name, this.peer.url, position.txid);
  }

  #recovered(): void {
    this.#backoff.reset();
    this.#trouble.recovered();
  }

  /** @returns the wait before the next attempt in ms */
  #failed(error: unknown): number {
    this.#position = null;
    if (this.context.signal.aborted) return 0;
    // The peer has logged it, and lets all databases wait.
    if (hasCode(error, "auth") || (hasCode(error, "storage") && this.peer.failure !== null)) return 0;
    this.#trouble.failed(error);
    return this.#backoff.takeMs();
  }
}

function refusal(message: string): WalrustError {
  return new WalrustError("database", message, { retryable: true });
}

function isLink({ level, maxTxid }: SpoolFile): boolean {
  return level === 0 || maxTxid === 1;
}
