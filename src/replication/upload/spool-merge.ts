/**
 * Merges the increments that wait for their upload into one file. A merge after each upload keeps a database
 * at most about two puts behind. Merges while the store is away keep the spool within its limit. One captured
 * batch is one TXID. The merged file holds the range and is one link of the chain, so the state's chain value
 * changes with it.
 *
 * Invariants:
 * 1. Order: the merged file is complete, then the state names its chain value, then the sources are removed.
 *    A crash in between leaves both; loading the spool keeps the files that lead to the state's chain value.
 * 2. A merge always reaches to the state's TXID: a later file would carry a chain value from before the
 *    merge.
 * 3. An increment that may have been sent is no source: the store may hold it even after a failed put. An
 *    earlier process may have sent the first two increments that wait: it ended while it sent the second one,
 *    and before it noted the acknowledgement of the first. After a power cut, it may have sent all.
 * 4. A snapshot that waits at the state's TXID, or is being written, carries the chain value of that TXID, so
 *    nothing up to there is merged.
 */
import { closeSync, readSync } from "node:fs";
import type { Env } from "../../env.ts";
import { errorMessage } from "../../errors.ts";
import { hex, isChainLink } from "../../format/chain.ts";
import { decodeLtxHeader } from "../../format/ltx.ts";
import { type LtxSource, MERGE_INPUTS_MAX, mergeLtxInSlices } from "../../format/ltx-merge.ts";
import type { Txid } from "../../format/types.ts";
import { openOwn } from "../../local/own-file.ts";
import {
  isSnapshotFile,
  ltxPageSizeOrNull,
  removeSpoolFile,
  removeSpoolFiles,
  type SpoolFile,
  SpoolWriter,
} from "../../local/spool.ts";
import { bodyOrNull } from "../../local/spool-bodies.ts";
import { writeState } from "../../local/state.ts";
import type { Captured } from "../capture/live-database.ts";
import { UploadHistory } from "./upload-history.ts";

/**
 * Above this size increments are sent as captured: then bandwidth limits the uploads, not the number of puts.
 */
const MERGE_BYTES_MAX = 64 << 20;
/** A merge up to this size takes some ms and runs at once. */
const AT_ONCE_BYTES_MAX = 512 << 10;
const READ_SIZE_MIN = 4 << 10;

/** The sources of a merge. */
export interface PlannedMerge {
  /** At least two, in the order of their TXIDs. */
  readonly sources: readonly SpoolFile[];
  /** Whether the merge takes so long that it runs in slices. */
  readonly isLong: boolean;
}

/** The page size of each file whose header was read. */
const pageSizes = new WeakMap<SpoolFile, number | null>();

function pageSizeOrNull(file: SpoolFile): number | null {
  let pageSizeBytes = pageSizes.get(file);
  if (pageSizeBytes !== undefined) return pageSizeBytes;
  const held = bodyOrNull(file);
  pageSizeBytes = held === null ? ltxPageSizeOrNull(file) : decodeLtxHeader(held).pageSizeBytes;
  pageSizes.set(file, pageSizeBytes);
  return pageSizeBytes;
}

/**
 * Plans a merge of the increments beyond `afterTxid`, or null when there are not two.
 * @param growth the most that an increment may exceed all increments after it in size. With a limit, merging
 * a backlog that keeps growing costs no more than its size times the logarithm of its number of files
 */
export function planMerge(
  { state, pending, revivedTxid = 0 as Txid }: Captured,
  afterTxid: number,
  growth = Number.POSITIVE_INFINITY,
): PlannedMerge | null {
  if (state === null) return null;
  const isAtHead = (file: SpoolFile): boolean => isSnapshotFile(file) && file.maxTxid === state.txid;
  if (pending.some(isAtHead)) return null;
  // The rule before each upload: one waiting increment, and no header is read.
  if (pending.length < 2) return null;
  const sentTxid = Math.max(afterTxid, revivedTxid);
  const sources: SpoolFile[] = [];
  let bytes = 0;
  for (let index = pending.length - 1; index >= 0 && sources.length < MERGE_INPUTS_MAX; index--) {
    const file = pending[index]!;
    if (file.level !== 0) continue;
    const isTooLarge = bytes > 0 && file.sizeBytes > bytes * growth;
    if (file.minTxid <= sentTxid || isTooLarge || bytes + file.sizeBytes > MERGE_BYTES_MAX) break;
    if ((pageSizeOrNull(file) ?? state.pageSizeBytes) !== state.pageSizeBytes) break;
    sources.push(file);
    bytes += file.sizeBytes;
  }
  if (sources.length < 2 || sources[0]?.maxTxid !== state.txid) return null;
  return { sources: sources.reverse(), isLong: bytes > AT_ONCE_BYTES_MAX };
}

/**
 * Merges all pending increments but the first, which an upload may be sending.
 * @returns the bytes saved; 0 when there was nothing to merge
 * @throws WalrustError when the disk refuses; nothing has changed then
 */
export function mergePending(live: Captured): number {
  const plan = planMerge(live, live.pending.find(({ level }) => level === 0)?.maxTxid ?? 0);
  return plan === null ? 0 : mergeNow(live, plan);
}

/** Carries out a plan at once. @returns the bytes saved @throws as `mergePending` */
export function mergeNow(live: Captured, { sources }: PlannedMerge): number {
  const steps = mergeSteps(live, sources);
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/**
 * Carries out a plan in slices. Nothing may be captured meanwhile.
 * @param turn gives other work a turn; an error that it throws ends the merge
 * @throws as `mergePending`
 */
export async function mergeInSlices(
  live: Captured,
  { sources }: PlannedMerge,
  turn: () => Promise<void>,
): Promise<void> {
  const steps = mergeSteps(live, sources);
  try {
    while (!steps.next().done) await turn();
  } finally {
    steps.return(0);
  }
}

function* mergeSteps(live: Captured, sources: readonly SpoolFile[]): Generator<void, number> {
  const { state } = live;
  const [first, last] = [sources[0], sources.at(-1)];
  if (state === null || first === undefined || last === undefined) throw new Error("nothing to merge");
  // Something was captured, sent or merged since the plan: the merge would not lead to the state's TXID.
  if (last.maxTxid !== state.txid || sources.some((source) => !live.pending.includes(source))) return 0;
  const before = sources.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const spool = new SpoolWriter(live.paths.spoolFolder, 0, first.minTxid, last.maxTxid);
  const opened = sources.map(openSource);
  const readSizeMax = Math.max(READ_SIZE_MIN, ...sources.map(({ sizeBytes }) => sizeBytes));
  let isDone = false;
  try {
    yield* mergeLtxInSlices(
      opened.map(({ read }) => read),
      (bytes) => spool.write(bytes),
      { readSizeMax },
    );
    // Another state was adopted, or the database attached anew, while other work had its turn.
    if (live.state !== state) return 0;
    const merged = spool.finish({ previousChain: first.previousChain });
    isDone = true;
    replaceSources(live, sources, merged);
    return before - merged.sizeBytes;
  } finally {
    if (!isDone) spool.discard();
    for (const source of opened) source.close();
  }
}

function replaceSources(live: Captured, sources: readonly SpoolFile[], merged: SpoolFile): void {
  const { state, pending, paths } = live;
  if (state === null) throw new Error("a merge needs a state");
  const next = { ...state, chain: hex(merged.chain) };
  try {
    writeState(paths, next);
  } catch (error) {
    // Without the state, the merged file would look like a link that leads nowhere.
    removeSpoolFile(merged);
    throw error;
  }
  live.state = next;
  pending.splice(pending.indexOf(sources[0]!), 0, merged);
  for (const source of sources) pending.splice(pending.indexOf(source), 1);
  removeSpoolFiles(sources);
}

function openSource(file: SpoolFile): { read: LtxSource; close: () => void } {
  const held = bodyOrNull(file);
  let fd: number | null = null;
  let offset = 0;
  const read = (target: Uint8Array): number => {
    const wanted = Math.min(target.length, file.sizeBytes - offset);
    if (held !== null) {
      target.set(held.subarray(offset, offset + wanted));
      offset += wanted;
      return wanted;
    }
    fd ??= openOwn(file.path);
    const count = readSync(fd, target, 0, wanted, file.offset + offset);
    offset += count;
    return count;
  };
  return { read, close: () => (fd === null ? undefined : closeSync(fd)) };
}

/** While nothing can be sent: the number of new files that starts a merge, and its `growth`. */
const IDLE_COUNT = 64;
const IDLE_GROWTH = 2;

/** Whether the chain may change: the watcher's record, read before each merge. */
export interface ChainHold {
  /** Whether nothing may be merged, because a job relies on the chain or the history is broken. */
  readonly isChainHeld: boolean;
  /** Whether a job runs. A long merge is a job, too, and waits for the other's end. */
  readonly isJobRunning: boolean;
}

/** Decides when the waiting increments of one database are merged. */
export class MergeTiming {
  /** Files that waited after the last merge while nothing could be sent. */
  #idleCount = 0;
  /** A long merge was returned, and its upload has not begun. */
  #isLongMergeDue = false;

  constructor(
    readonly env: Pick<Env, "log">,
    readonly hold: ChainHold,
    readonly history = new UploadHistory(),
  ) {}

  /** A link is about to be sent. */
  sending(live: Captured, file: SpoolFile): void {
    this.#recognize(live);
    this.history.sentTxid = Math.max(this.history.sentTxid, file.maxTxid);
    this.#idleCount = 0;
  }

  /**
   * The lane is free: merges all waiting increments, unless the next link may have been sent before.
   * @returns a merge that takes long, for the caller to do as a job before the upload: once for each upload
   */
  beforeUpload(live: Captured): PlannedMerge | null {
    this.#recognize(live);
    const wasDue = this.#isLongMergeDue;
    this.#isLongMergeDue = false;
    const next = live.pending.find(isChainLink);
    if (wasDue || next === undefined || next.minTxid <= this.history.sentTxid) return null;
    const plan = this.#planOrNull(live);
    if (plan === null || (plan.isLong && this.hold.isJobRunning)) return null;
    if (!plan.isLong) this.#merge(live, plan);
    this.#isLongMergeDue = plan.isLong;
    return plan.isLong ? plan : null;
  }

  /** Nothing can be sent now: merges the waiting increments once they are many. */
  whileWaiting(live: Captured): void {
    if (live.pending.length < this.#idleCount + IDLE_COUNT) return;
    const plan = this.#planOrNull(live, IDLE_GROWTH);
    if (plan !== null && !plan.isLong) this.#merge(live, plan);
    this.#idleCount = live.pending.length;
  }

  #planOrNull(live: Captured, growth?: number): PlannedMerge | null {
    if (this.hold.isChainHeld) return null;
    this.#recognize(live);
    // A snapshot that is being written carries the chain value of its own TXID.
    const imageTxid = live.imageTxid ?? 0;
    // A link ends at each snapshot, so that the history leads through the snapshot.
    const snapshotTxid = live.state?.snapshot?.txid ?? 0;
    return planMerge(live, Math.max(imageTxid, this.history.sentTxid, snapshotTxid), growth);
  }

  #merge(live: Captured, plan: PlannedMerge): void {
    try {
      mergeNow(live, plan);
    } catch (error) {
      logUnmerged(live, error, this.env);
    }
  }

  /** Notices a new attach: its first waiting link may have been sent by the process before. */
  #recognize(live: Captured): void {
    const { history } = this;
    const isKnown = live === history.sentFrom && (live.state?.txid ?? 0) >= history.sentTxid;
    if (isKnown) return;
    history.sentFrom = live;
    history.sentTxid = live.pending.find(isChainLink)?.maxTxid ?? 0;
    this.#idleCount = 0;
  }
}

/** A plan with the increments that were captured since: a merge reaches to the state's TXID. */
export function extendMerge({ pending }: Pick<Captured, "pending">, merge: PlannedMerge): PlannedMerge {
  const newestTxid = merge.sources.at(-1)?.maxTxid ?? 0;
  const later = pending.filter(({ level, maxTxid }) => level === 0 && maxTxid > newestTxid);
  const sources = [...merge.sources, ...later];
  return sources.length > MERGE_INPUTS_MAX ? merge : { ...merge, sources };
}

/** Does a merge that takes long, in slices. Nothing may be captured meanwhile. Never rejects. */
export async function mergeLong(
  live: Captured,
  merge: PlannedMerge,
  env: Pick<Env, "log" | "turn">,
): Promise<void> {
  try {
    await mergeInSlices(live, merge, () => env.turn());
  } catch (error) {
    logUnmerged(live, error, env);
  }
}

/** A merge failed, which changes nothing: the increments are sent one by one. */
function logUnmerged({ name }: Captured, error: unknown, { log }: Pick<Env, "log">): void {
  log.debug(`cannot merge waiting captures: ${errorMessage(error)}`, { database: name });
}
