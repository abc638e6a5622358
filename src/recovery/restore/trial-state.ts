/**
 * A trial: applies an object to the page sums of a state, without the pages of the state. The object claims
 * the database checksum that it leads to, so the trial shows whether the state is one that the object
 * continues. This is the only evidence about a snapshot inside a merged object: nothing else in the bucket
 * names the state in the middle.
 */
import { hasCode } from "../../errors.ts";
import { pageChecksumInto } from "../../format/crc64.ts";
import type { LtxHeader, LtxTrailer } from "../../format/ltx.ts";
import { NO_CHECKSUM } from "../../format/types.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { checkListed, type PageReceiver } from "../object/check-object.ts";
import { GrowthLimit } from "../object/growth-limit.ts";
import type { PageSumState } from "./page-sum-state.ts";

/** The surroundings of a trial. */
interface TrialContext {
  readonly store: ObjectStore;
  readonly signal: AbortSignal | undefined;
  /** Whether an object that holds all pages counts, too: it leads to its claim from any state. */
  readonly isForState?: boolean;
}

/** Takes the pages of one object into page sums. */
class SumReceiver implements PageReceiver {
  header: LtxHeader | null = null;
  pageCount = 0;
  readonly #state: PageSumState;
  readonly #growth = new GrowthLimit();
  readonly #sum = new Uint32Array(2);
  #key = "";

  constructor(state: PageSumState) {
    this.#state = state;
  }

  begin(key: string, header: LtxHeader): void {
    this.#key = key;
    this.header = header;
    this.#growth.begin(this.#state.commit, header.pageSizeBytes);
  }

  page(pgno: number, data: Uint8Array): void {
    this.#growth.page(this.#key, pgno);
    this.pageCount++;
    pageChecksumInto(pgno, data, this.#sum);
    this.#state.set(pgno, this.#sum[0]!, this.#sum[1]!);
  }

  end(key: string, _trailer: LtxTrailer): void {
    const { commit, pageSizeBytes } = this.header!;
    this.#growth.end(key, commit);
    this.#state.resize(commit, pageSizeBytes);
  }
}

/**
 * Applies an object to a state, which changes the state.
 * @returns whether the state then has the checksum that the object claims; null when the object says nothing:
 * it is unsound or gone, carries no checksum, has pages of another size, or holds all pages
 * @throws WalrustError with a storage code
 */
export async function leadsToClaimOrNull(
  state: PageSumState,
  pageSizeBytes: number,
  object: LtxObject,
  { store, signal, isForState = false }: TrialContext,
): Promise<boolean | null> {
  const receiver = new SumReceiver(state);
  try {
    const { facts, findings } = await checkListed(store, object, { receiver }, signal);
    if (facts === null || findings.length > 0 || facts.postApplyChecksum === NO_CHECKSUM) return null;
    if (facts.header.pageSizeBytes !== pageSizeBytes) return null;
    if (!isForState && receiver.pageCount >= facts.header.commit) return null;
    return facts.postApplyChecksum === state.checksum;
  } catch (error) {
    // Beyond the limit on growth, or deleted meanwhile.
    if (hasCode(error, "integrity") || hasCode(error, "not-found")) return null;
    throw error;
  }
}
