/**
 * Proves that a file is the restored database that another restore would write again.
 *
 * The proof, all of it:
 * 1. The state beside the file is of this destination and name, stands at the TXID of the plan, and is as a
 *    restore leaves it: no watch has captured since.
 * 2. No process has the file open, and it has no -wal and no -journal with content.
 * 3. Each page of the file has the sum that the restore recorded, and their XOR is the checksum in the state.
 * 4. The newest object of the plan leads to this checksum, or, if it carries none, to the chain value in the
 *    state: the bucket may hold another history by now.
 * Neither the size nor the times of the file count.
 */
import { fstatSync, lstatSync, readSync } from "node:fs";
import { closeDescriptor, descriptorIdentity, openDescriptor } from "../../database/files/descriptors.ts";
import { isDatabaseInUse } from "../../database/files/in-use.ts";
import type { Env } from "../../env.ts";
import { hasCode } from "../../errors.ts";
import { CHAIN_ZERO, hex } from "../../format/chain.ts";
import { pageChecksumInto } from "../../format/crc64.ts";
import { FLAG_NO_CHECKSUM } from "../../format/ltx.ts";
import { lockPgno } from "../../format/types.ts";
import { checksumOfFileOrNull, PageSumReader, SumXor } from "../../local/page-sums.ts";
import { type DatabaseState, readState } from "../../local/state.ts";
import type { StateFolder } from "../../local/state-folder.ts";
import { type LtxObject, readHeader, readTrailer } from "../../storage/bucket/catalog.ts";
import { decodeMetadata } from "../../storage/contract/object-metadata.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { type PrepareRequest, planDryRun, type RestoreContext } from "../restore/prepare-restore.ts";

/** The outcome. "other": a file is there, and is not proven to be what a restore would write. */
export type RestoredProof =
  | { readonly kind: "absent" }
  | { readonly kind: "right"; readonly state: DatabaseState; readonly bytes: number }
  | { readonly kind: "other"; readonly reason: string };

const SLICE_BYTES = 1 << 20;

/**
 * Looks for a restored database at the target of a request.
 * @param request its output path has all links resolved, and its point is fixed
 * @throws WalrustError a storage code, or codes of the plan ("restore", "integrity")
 */
export async function proveRestored(
  request: PrepareRequest,
  context: RestoreContext,
): Promise<RestoredProof> {
  const { outputPath, name } = request;
  const { store, env, signal, places } = context;
  const stats = lstatSync(outputPath, { throwIfNoEntry: false });
  if (stats === undefined) return { kind: "absent" };
  if (!stats.isFile()) return other("it is no regular file");
  if (places === undefined) return other("there is no state to compare it with");
  const { paths } = places.of(outputPath);
  const reading = readState(paths);
  if (reading.kind === "refused") throw reading.error;
  if (reading.kind !== "state") return other("no state of a restore belongs to it");
  const { state } = reading;
  if (state.destination !== store.url || state.name !== name) {
    return other(`it is ${state.name} of ${state.destination}`);
  }
  if (state.wal !== null || state.file !== undefined) return other("a watch has captured from it");
  const problem =
    fileProblemOrNull(outputPath) ?? (await contentProblemOrNull(outputPath, paths, state, env));
  if (problem !== null) return other(problem);
  signal?.throwIfAborted();
  const plan = await planDryRun(request, context);
  if (plan.txid !== state.txid) {
    const age = state.txid < plan.txid ? "older" : "newer";
    const own = `TXID ${state.txid} (${new Date(state.timeMs).toISOString()})`;
    return other(`it holds the ${age} ${own}, and TXID ${plan.txid} is to be restored`);
  }
  const newest = plan.objects.at(-1);
  if (newest === undefined || !(await isConfirmed(state, newest, store, signal))) {
    return other("the backup does not confirm its content");
  }
  return { kind: "right", state, bytes: state.commit * state.pageSizeBytes };
}

function other(reason: string): RestoredProof {
  return { kind: "other", reason };
}

function fileProblemOrNull(path: string): string | null {
  if (isDatabaseInUse(path)) return "a process has it open";
  for (const suffix of ["-wal", "-journal"]) {
    if ((lstatSync(`${path}${suffix}`, { throwIfNoEntry: false })?.size ?? 0) > 0) {
      return `it has a ${suffix}: it was opened since its restore`;
    }
  }
  return null;
}

/** Compares each page with its sum, in slices between which other work has its turn. */
async function contentProblemOrNull(
  path: string,
  { sumsPath }: StateFolder,
  { pageSizeBytes, commit, checksum }: DatabaseState,
  env: Pick<Env, "turn">,
): Promise<string | null> {
  if (checksumOfFileOrNull(sumsPath, commit) !== checksum) return "the sums of its pages are lost";
  const changed = "its content has changed since its restore";
  const fd = openDescriptor(path);
  const sums = new PageSumReader(sumsPath);
  try {
    if (fstatSync(fd).size !== commit * pageSizeBytes) return changed;
    const bytes = new Uint8Array(Math.ceil(SLICE_BYTES / pageSizeBytes) * pageSizeBytes);
    const sum = new Uint32Array(2);
    const xor = new SumXor();
    const lock = lockPgno(pageSizeBytes);
    for (let pgno = 1; pgno <= commit; ) {
      const read = readSync(fd, bytes, 0, bytes.length, (pgno - 1) * pageSizeBytes);
      if (read === 0 || read % pageSizeBytes !== 0) return changed;
      for (let at = 0; at < read; at += pageSizeBytes, pgno++) {
        pageChecksumInto(pgno, bytes.subarray(at, at + pageSizeBytes), sum);
        if (pgno === lock) sum.fill(0);
        if (!sums.next() || sums.low !== sum[0] || sums.high !== sum[1]) return changed;
        xor.add(sum[0]!, sum[1]!);
      }
      await env.turn();
    }
    return xor.checksum() === checksum ? null : changed;
  } finally {
    sums.close();
    closeDescriptor(descriptorIdentity(fd), fd);
  }
}

/** Whether the object leads to the content of the state. */
async function isConfirmed(
  state: DatabaseState,
  object: LtxObject,
  store: ObjectStore,
  signal: AbortSignal | undefined,
): Promise<boolean> {
  try {
    const header = await readHeader(store, object.key, signal);
    if ((header.flags & FLAG_NO_CHECKSUM) === 0) {
      const trailer = await readTrailer(store, object, header, signal);
      return trailer.postApplyChecksum === state.checksum && header.commit === state.commit;
    }
    const { chain } = decodeMetadata(object.key, (await store.head(object.key, { signal })).metadata);
    return chain !== null && chain !== hex(CHAIN_ZERO) && chain === state.chain;
  } catch (error) {
    // The object waits in a spool, or is damaged: then a restore decides.
    if (hasCode(error, "not-found") || hasCode(error, "corrupt")) return false;
    throw error;
  }
}
