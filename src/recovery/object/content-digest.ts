/**
 * A digest of the content of an LTX file: range of TXIDs, page size, commit, checksums, time, and every page.
 * Two files with one digest change a database in the same way, however each of them compresses its pages.
 */
import { isWithoutChecksum, type LtxHeader, type LtxTrailer } from "../../format/ltx.ts";
import type { PageReceiver } from "./check-object.ts";

/** Takes the pages of one file from the judge. */
export class ContentDigest implements PageReceiver {
  readonly #hasher = new Bun.CryptoHasher("sha256");
  #value: string | null = null;

  /** 64 hex digits; null until the judge found the whole file sound. */
  get value(): string | null {
    return this.#value;
  }

  begin(_key: string, header: LtxHeader): void {
    const { minTxid, maxTxid, pageSizeBytes, commit, preApplyChecksum, timestampMs } = header;
    // Litestream may give a merged object the time of another source than walrust does.
    const timeMs = isWithoutChecksum(header) ? null : timestampMs;
    this.#add({ minTxid, maxTxid, pageSizeBytes, commit, preApplyChecksum: `${preApplyChecksum}`, timeMs });
  }

  page(pgno: number, data: Uint8Array): void {
    this.#add({ pgno });
    this.#hasher.update(data);
  }

  end(_key: string, { postApplyChecksum }: LtxTrailer): void {
    this.#add({ postApplyChecksum: `${postApplyChecksum}` });
    this.#value = this.#hasher.digest("hex");
  }

  #add(fields: object): void {
    this.#hasher.update(`${JSON.stringify(fields)}\n`);
  }
}
