/**
 * The spool of this machine as a source of objects: copies of uploaded objects, and captured files that still
 * wait for their upload. A restore beside the spool reads the disk instead of the network, and recovers even
 * transactions that never reached the bucket.
 *
 * A copy counts only if its bytes have the SHA-256 of its footer, and if the bucket holds the same bytes
 * (spool-agreement.ts). A copy that is unsound is passed over for
 * the object in the bucket; a waiting file has no other copy, so an unsound one is an integrity error.
 */
import { errorMessage, WalrustError } from "../../errors.ts";
import { hex, isChainLink } from "../../format/chain.ts";
import { decodeLtxHeader, LTX_HEADER_SIZE } from "../../format/ltx.ts";
import type { LocalPlaces } from "../../local/places.ts";
import { type SpoolFile, spoolChunks } from "../../local/spool.ts";
import { intactCopyOrNull, localCopyOrNull } from "../../local/spool-cache.ts";
import { readSpooledHistoryOrNull } from "../../local/spooled-history.ts";
import { keyOf, type LtxObject, withKey } from "../../storage/bucket/catalog.ts";
import { encodeMetadata } from "../../storage/contract/object-metadata.ts";
import type { ObjectMetadata, ObjectStore } from "../../storage/contract/store.ts";
import type { FetchedObject, ObjectSource } from "./object-source.ts";

/** The captured files of one database. */
export class SpoolSource implements ObjectSource {
  readonly kind = "spool";
  readonly #folder: string;
  readonly #waiting: ReadonlySet<LtxObject>;

  private constructor(folder: string, waiting: readonly LtxObject[]) {
    this.#folder = folder;
    this.#waiting = new Set(waiting);
  }

  /**
   * The spool of the database at `databasePath`, or null when it belongs to another bucket or name.
   * @param databasePath its real path
   * @param places where the watch keeps its files: with the same `--cache-dir` and `--state-dir`
   */
  static openOrNull(
    databasePath: string,
    store: ObjectStore,
    name: string,
    places: LocalPlaces,
  ): SpoolSource | null {
    const { paths } = places.of(databasePath, name);
    const history = readSpooledHistoryOrNull(paths, { destination: store.url, name }, false);
    if (history === null) return null;
    const modifiedMs = history.state.timeMs;
    const waiting = (history.pending ?? []).filter(isChainLink).map((file): LtxObject => {
      const { level, minTxid, maxTxid, sizeBytes } = file;
      return { key: keyOf(store, name, file), level, minTxid, maxTxid, sizeBytes, modifiedMs };
    });
    return new SpoolSource(paths.spoolFolder, waiting);
  }

  /** Lists the files that wait, each under the key that its upload will have. */
  async list(): Promise<readonly LtxObject[]> {
    return [...this.#waiting];
  }

  /** Whether an object of a listing waits for its upload: then no other source holds it. */
  isWaiting(object: LtxObject): boolean {
    return this.#waiting.has(object);
  }

  /** The local file with the name and the size of an object, by its footer; null without one. */
  copyOrNull(object: LtxObject): SpoolFile | null {
    return localCopyOrNull(this.#folder, object);
  }

  /** Opens the copy of an object. */
  async openOrNull(object: LtxObject): Promise<FetchedObject | null> {
    const file = await intactCopyOrNull(this.#folder, object);
    if (file !== null) return { object, metadata: metadataOf(file), chunks: chunksOf(file, object) };
    if (!this.isWaiting(object)) return null;
    throw unusable(object);
  }

  /** Reads the capture time of an object that waits. @throws WalrustError code "integrity" or "corrupt" */
  async readTime(object: LtxObject): Promise<number> {
    const file = await intactCopyOrNull(this.#folder, object);
    if (file === null) throw unusable(object);
    const [begin = new Uint8Array()] = chunksOf(file, object);
    return withKey(object.key, () => decodeLtxHeader(begin.subarray(0, LTX_HEADER_SIZE)).timestampMs);
  }
}

/** The error about a file that no other source holds. */
function unusable({ key }: LtxObject): WalrustError {
  const found = "was never uploaded, and its spool file is damaged or missing";
  return new WalrustError("integrity", `${key} ${found}`, { context: { key } });
}

/**
 * The bytes of a copy. @throws WalrustError code "integrity": a watch may prune or rename the file meanwhile
 */
function* chunksOf(file: SpoolFile, { key }: LtxObject): Generator<Uint8Array> {
  try {
    yield* spoolChunks(file);
  } catch (error) {
    throw new WalrustError("integrity", `The copy of ${key} cannot be read: ${errorMessage(error)}`, {
      context: { key },
      cause: error,
    });
  }
}

function metadataOf(file: SpoolFile): ObjectMetadata {
  return encodeMetadata({
    timeMs: null,
    sha256: hex(file.sha256),
    chain: hex(file.chain),
    previousChain: isChainLink(file) ? hex(file.previousChain) : null,
    writer: null,
    version: null,
  });
}
