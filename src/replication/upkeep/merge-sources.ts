/**
 * Opens the sources of a merge. Each is judged as a restore would judge it (recovery/object) before its bytes
 * are used. A source is read from the spool if it is still there, else from the store through a temporary
 * file, so memory stays bounded.
 */
import { closeSync, readSync, rmSync } from "node:fs";
import { join } from "node:path";
import { WalrustError } from "../../errors.ts";
import { hex } from "../../format/chain.ts";
import { formatTxid } from "../../format/keys.ts";
import type { LtxSource } from "../../format/ltx-merge.ts";
import { createTemp, openOwn, removeOwn, writeWhole } from "../../local/own-file.ts";
import { ltxPageSizeOrNull } from "../../local/spool.ts";
import { intactCopyOrNull } from "../../local/spool-cache.ts";
import { checkListed, type PathPoint } from "../../recovery/object/check-object.ts";
import type { ObjectFinding } from "../../recovery/object/object-finding.ts";
import { chainLinkFindings } from "../../recovery/object/object-links.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import type { CompactionTarget } from "./compaction.ts";

/** A sound object, open for a merge. */
export interface MergeSource {
  readonly read: LtxSource;
  /** Null when the header cannot be read, which the merge reports. */
  readonly pageSizeBytes: number | null;
  readonly chain: string | null;
  readonly previousChain: string | null;
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
  try {
    for (const source of sources) {
      const open = await openSource(target, source, path, signal);
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

/** Closes sources and removes their temporary files. */
export function closeSources(sources: readonly MergeSource[]): void {
  for (const source of sources) source.close();
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
    return { ...openFile(local.path, local.sizeBytes, false), chain: hex(local.chain), previousChain };
  }
  const { path, chain, previousChain } = await download(target, source, after, signal);
  return { ...openFile(path, source.sizeBytes, true), chain, previousChain };
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
  path: string,
  sizeBytes: number,
  isTemporary: boolean,
): Pick<MergeSource, "read" | "pageSizeBytes" | "close"> {
  let offset = 0;
  let fd: number | null = null;
  const read = (buffer: Uint8Array): number => {
    fd ??= openOwn(path);
    const count = readSync(fd, buffer, 0, Math.min(buffer.length, sizeBytes - offset), offset);
    offset += count;
    return count;
  };
  const close = (): void => {
    if (fd !== null) closeSync(fd);
    if (isTemporary) removeOwn(path, sizeBytes);
  };
  return { read, pageSizeBytes: ltxPageSizeOrNull(path), close };
}
