/**
 * What the spool beside a database still holds of its objects: a restore on the same machine reads them from
 * the disk, and gets back even what was captured and never uploaded.
 */
import { existsSync } from "node:fs";
import { hex, isChainLink } from "../../format/chain.ts";
import { type LocalPlaces, realParent } from "../../local/places.ts";
import { isIntact, loadSpool, type SpoolFile, spoolChunks } from "../../local/spool.ts";
import { localFileOrNull } from "../../local/spool-cache.ts";
import { readState } from "../../local/state.ts";
import type { FetchedObject, LocalCopies } from "../../recovery/object/object-source.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import { encodeMetadata } from "../../storage/contract/object-metadata.ts";

/** Keys of objects that are only here begin with this; no store has such a key. */
const LOCAL_KEY = "(spool)/";

/** Whether an object is only in the spool. */
export function isUnsent(object: LtxObject): boolean {
  return object.key.startsWith(LOCAL_KEY);
}

/**
 * The copies in the spool of the database at `databasePath`, if it belongs to this destination and name.
 * @param places where the watch keeps its files; its `--cache-dir` and `--state-dir` have to be the same
 */
export function localCopiesOrNull(
  databasePath: string,
  destination: string,
  name: string,
  places: LocalPlaces,
): LocalCopies | null {
  const { paths } = places.of(realParent(databasePath), name);
  const reading = readState(paths);
  if (reading.kind !== "state" || !existsSync(paths.spoolFolder)) return null;
  const { state } = reading;
  if (state.destination !== destination || state.name !== name) return null;
  const spool = loadSpool(paths.spoolFolder, state.txid, state.chain, false);
  const files = spool.kind === "pending" ? spool.files.filter(isChainLink) : [];
  return {
    unsent: files.map((file) => ({
      key: `${LOCAL_KEY}${file.level}/${file.minTxid}-${file.maxTxid}`,
      level: file.level,
      minTxid: file.minTxid,
      maxTxid: file.maxTxid,
      sizeBytes: file.sizeBytes,
      modifiedMs: state.timeMs,
    })),
    open: (object) => openCopy(paths.spoolFolder, object),
  };
}

async function openCopy(spoolFolder: string, object: LtxObject): Promise<FetchedObject | null> {
  const file = localFileOrNull(spoolFolder, object);
  if (file === null || file.sizeBytes !== object.sizeBytes || !(await isIntact(file))) return null;
  return { object, metadata: metadataOf(file), chunks: spoolChunks(file) };
}

function metadataOf(file: SpoolFile): Record<string, string> {
  return encodeMetadata({
    timeMs: null,
    sha256: hex(file.sha256),
    chain: hex(file.chain),
    previousChain: isChainLink(file) ? hex(file.previousChain) : null,
    writer: null,
    version: null,
  }) as Record<string, string>;
}
