/**
 * Opens the sources of a merge. Each is judged as a restore would judge it (recovery/object) before its bytes
 * are used. A source is read from the spool if it is still there, else from the store through a temporary
 * file, so memory stays bounded. A large source that is alone in its merge comes as a stream, without a
 * temporary file that could take as much room as the database.
 */
import { closeSync, readSync, rmSync } from "node:fs";
import { join } from "node:path";
import { WalrustError } from "../../errors.ts";
import { hex } from "../../format/chain.ts";
import { formatTxid } from "../../format/keys.ts";
import {
  decodeLtxHeader,
  FLAG_NO_CHECKSUM,
  isWithoutChecksum,
  type LtxHeader,
  type LtxTrailer,
} from "../../format/ltx.ts";
import { LtxEncoder } from "../../format/ltx-encoder.ts";
import type { LtxSource, MergedLtx } from "../../format/ltx-merge.ts";
import { createTemp, openOwn, removeOwn, writeWhole } from "../../local/own-file.ts";
import { ltxPageSizeOrNull, type SpoolFile, type SpoolWriter } from "../../local/spool.ts";
import { intactCopyOrNull, LoggedCopies } from "../../local/spool-cache.ts";
import { checkListed, type PageReceiver, type PathPoint } from "../../recovery/object/check-object.ts";
import type { ObjectFinding } from "../../recovery/object/object-finding.ts";
import { chainLinkFindings } from "../../recovery/object/object-links.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import { SpilledIndex } from "../capture/spilled-index.ts";
import type { CompactionTarget } from "./compaction.ts";

/** Bytes of small sources that a merge holds in memory. */
const HELD_BYTES_MAX = 1 << 20;

/** The chain values at both ends of a source. */
export interface SourceChain {
  readonly chain: string | null;
  readonly previousChain: string | null;
}

/** A sound object, open for a merge. */
export interface MergeSource extends SourceChain {
  readonly read: LtxSource;
  /** Null when the header cannot be read, which the merge reports. */
  readonly pageSizeBytes: number | null;
  readonly close: () => void;
}

/**
 * Opens the sources of a merge, up to the first with another page size. After a database was replaced by one
 * with other pages, the history continues in a merge of its own.
 * @throws WalrustError code "integrity" naming an unsound source, "not-found" or another storage code
 */
export async function openMergeSources(
  target: Pick<CompactionTarget, "store" | "spoolFolder" | "env">,
  sources: readonly LtxObject[],
  signal?: AbortSignal,
): Promise<MergeSource[]> {
  const opened: MergeSource[] = [];
  let path: PathPoint = { txid: 0, chain: null };
  let heldBytes = 0;
  let copies: LoggedCopies | null = new LoggedCopies(target.spoolFolder);
  try {
    for (const source of sources) {
      heldBytes += source.sizeBytes;
      if (heldBytes > HELD_BYTES_MAX) copies = null;
      const held = copies === null ? null : heldSourceOrNull(copies, source, path);
      const open = held ?? (await openSource(target, source, path, signal));
      if (opened[0] !== undefined && open.pageSizeBytes !== opened[0].pageSizeBytes) {
        open.close();
        break;
      }
      opened.push(open);
      path = { txid: source.maxTxid, chain: open.chain };
      await target.env.turn();
    }
    return opened;
  } catch (error) {
    closeSources(opened);
    throw error;
  }
}

/**
 * Closes sources and removes their temporary files.
 * @throws the first error, after every source is closed
 */
export function closeSources(sources: readonly MergeSource[]): void {
  const errors: unknown[] = [];
  for (const source of sources) {
    try {
      source.close();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw errors[0];
}

/** A small source whose copy is in a log: its bytes stay in memory for the merge. */
function heldSourceOrNull(copies: LoggedCopies, source: LtxObject, after: PathPoint): MergeSource | null {
  const copy = copies.copyOrNull(source);
  if (copy === null) return null;
  const { file, bytes } = copy;
  const previousChain = hex(file.previousChain);
  assertSound(source, chainLinkFindings(source, { previousChain }, beforeOf(source, after)));
  let offset = 0;
  const read = (buffer: Uint8Array): number => {
    const chunk = bytes.subarray(offset, offset + buffer.length);
    buffer.set(chunk);
    offset += chunk.length;
    return chunk.length;
  };
  const { pageSizeBytes } = decodeLtxHeader(bytes);
  return { read, pageSizeBytes, close: () => {}, chain: hex(file.chain), previousChain };
}

async function openSource(
  target: Pick<CompactionTarget, "store" | "spoolFolder">,
  source: LtxObject,
  after: PathPoint,
  signal?: AbortSignal,
): Promise<MergeSource> {
  const local = await intactCopyOrNull(target.spoolFolder, source);
  if (local !== null) {
    const previousChain = hex(local.previousChain);
    assertSound(source, chainLinkFindings(source, { previousChain }, beforeOf(source, after)));
    return { ...openFile(local, false), chain: hex(local.chain), previousChain };
  }
  const { path, chain, previousChain } = await download(target, source, after, signal);
  return { ...openFile({ path, offset: 0, sizeBytes: source.sizeBytes }, true), chain, previousChain };
}

/** The chain value before a source, if the source before it is known. */
function beforeOf(source: LtxObject, after: PathPoint): { key: string; chain: string | null } {
  const isContinuation = after.txid > 0 && source.minTxid === after.txid + 1;
  return { key: "the object before it", chain: isContinuation ? after.chain : null };
}

/** Copies an object into a temporary file, and judges it on the way. */
async function download(
  { store, spoolFolder }: Pick<CompactionTarget, "store" | "spoolFolder">,
  source: LtxObject,
  after: PathPoint,
  signal?: AbortSignal,
): Promise<{ path: string; chain: string | null; previousChain: string | null }> {
  const name = `merge-${source.level}-${formatTxid(source.minTxid)}-${formatTxid(source.maxTxid)}.ltx`;
  const { fd, path } = createTemp(join(spoolFolder, name));
  try {
    const onChunk = (chunk: Uint8Array): void => writeWhole(fd, chunk);
    const { facts, findings } = await checkListed(store, source, { after, onChunk }, signal);
    assertSound(source, findings);
    return { path, ...facts!.metadata };
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  } finally {
    closeSync(fd);
  }
}

/** @throws WalrustError code "integrity" when a source is unsound */
function assertSound({ key }: LtxObject, findings: readonly ObjectFinding[]): void {
  const [first] = findings;
  if (first === undefined) return;
  throw new WalrustError("integrity", `${first.error.message}; it is not compacted`, {
    context: { key },
    cause: first.error,
  });
}

/**
 * A file as a source. It is opened at its first read, so that many sources do not hold a descriptor each.
 */
function openFile(
  file: Pick<SpoolFile, "path" | "offset" | "sizeBytes">,
  isTemporary: boolean,
): Pick<MergeSource, "read" | "pageSizeBytes" | "close"> {
  const { path, sizeBytes } = file;
  let offset = 0;
  let fd: number | null = null;
  const read = (buffer: Uint8Array): number => {
    fd ??= openOwn(path);
    const count = readSync(fd, buffer, 0, Math.min(buffer.length, sizeBytes - offset), file.offset + offset);
    offset += count;
    return count;
  };
  const close = (): void => {
    if (fd !== null) closeSync(fd);
    if (isTemporary) removeOwn(path, sizeBytes);
  };
  return { read, pageSizeBytes: ltxPageSizeOrNull(file), close };
}

/** A source that is alone in its merge, and larger, is streamed. */
export const STREAMED_SIZE_MIN = 8 << 20;

/**
 * Makes the merge of one large source: decodes it from the store, page by page, while the judge reads it, and
 * encodes it for the next level.
 * @throws WalrustError code "integrity" naming an unsound source, or a storage code; the file is worthless
 * then
 */
export async function mergeStreamed(
  { store, spoolFolder, env }: Pick<CompactionTarget, "store" | "spoolFolder" | "env">,
  source: LtxObject,
  spool: SpoolWriter,
  signal: AbortSignal | undefined,
): Promise<MergedLtx & SourceChain> {
  const index = new SpilledIndex(spoolFolder);
  const copy = new PageCopy(spool, index);
  try {
    const { facts, findings } = await checkListed(store, source, { receiver: copy }, signal);
    assertSound(source, findings);
    const { encoder, trailer } = copy;
    if (facts === null || encoder === null || trailer === null) throw new Error("a sound object has facts");
    const steps = encoder.finishInSlices(trailer.postApplyChecksum);
    let step = steps.next();
    for (; !step.done; step = steps.next()) {
      await env.turn();
      signal?.throwIfAborted();
    }
    const { chain, previousChain } = facts.metadata;
    return { header: encoder.header, trailer: step.value, chain, previousChain };
  } finally {
    index.close();
  }
}

/** Encodes the pages that the judge gives. */
class PageCopy implements PageReceiver {
  encoder: LtxEncoder | null = null;
  trailer: LtxTrailer | null = null;
  readonly #spool: SpoolWriter;
  readonly #index: SpilledIndex;

  constructor(spool: SpoolWriter, index: SpilledIndex) {
    this.#spool = spool;
    this.#index = index;
  }

  begin(_key: string, header: LtxHeader): void {
    // As a merge of several files: without a WAL position and a node id.
    const merged: LtxHeader = {
      ...header,
      flags: isWithoutChecksum(header) ? FLAG_NO_CHECKSUM : 0,
      walOffset: 0,
      walSizeBytes: 0,
      walSalt1: 0,
      walSalt2: 0,
      nodeId: 0n,
    };
    this.encoder = new LtxEncoder(merged, (bytes) => this.#spool.write(bytes), this.#index);
  }

  page(pgno: number, data: Uint8Array): void {
    this.encoder!.page(pgno, data);
  }

  end(_key: string, trailer: LtxTrailer): void {
    this.trailer = trailer;
  }
}
