/** Changes objects of a bucket in place: their metadata, or their content with valid LTX checksums. */
import { FLAG_NO_CHECKSUM, type LtxHeader } from "../../../src/format/ltx.ts";
import { decodeLtxFile } from "../../../src/format/ltx-decoder.ts";
import { LtxEncoder } from "../../../src/format/ltx-encoder.ts";
import { NO_CHECKSUM } from "../../../src/format/types.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { readObject } from "../oracles/history-oracle.ts";

/** Changes metadata fields of an object; null removes a field. */
export async function editMetadata(
  store: ObjectStore,
  key: string,
  changes: Readonly<Record<string, string | null>>,
): Promise<void> {
  const { bytes, metadata } = await readObject(store, key);
  const merged = Object.entries({ ...metadata, ...changes }).filter((entry) => entry[1] !== null);
  await store.put(key, { kind: "bytes", bytes }, { metadata: Object.fromEntries(merged) as never });
}

/** Removes all metadata of an object, as a copy between buckets may. */
export async function stripMetadata(store: ObjectStore, key: string): Promise<void> {
  const { bytes } = await readObject(store, key);
  await store.put(key, { kind: "bytes", bytes }, { metadata: {} });
}

/** A change to the content of an object. */
export interface ContentChange {
  /** Flips a bit of the last page without adjusting any checksum of the database. */
  readonly flipsPage?: boolean;
  /** Drops the database checksums, as Litestream does. */
  readonly dropsChecksums?: boolean;
  readonly header?: Partial<LtxHeader>;
}

/** Encodes an object anew with a change and valid LTX checksums. The object loses its metadata. */
export async function rewriteObject(store: ObjectStore, key: string, change: ContentChange): Promise<void> {
  const { bytes } = await readObject(store, key);
  const pages: { pgno: number; data: Uint8Array }[] = [];
  const { header, trailer } = decodeLtxFile(bytes, (pgno, page) => pages.push({ pgno, data: page.slice() }));
  const { flipsPage = false, dropsChecksums = false } = change;
  if (flipsPage) pages.at(-1)!.data[100]! ^= 1;
  const chunks: Uint8Array[] = [];
  const plain = { flags: FLAG_NO_CHECKSUM, preApplyChecksum: NO_CHECKSUM };
  const rewritten = { ...header, ...(dropsChecksums ? plain : {}), ...change.header };
  const encoder = new LtxEncoder(rewritten, (chunk) => chunks.push(chunk.slice()));
  for (const { pgno, data } of pages) encoder.page(pgno, data);
  encoder.finish(dropsChecksums ? NO_CHECKSUM : trailer.postApplyChecksum);
  const whole = new Uint8Array(Buffer.concat(chunks));
  await store.put(key, { kind: "bytes", bytes: whole }, { metadata: {} });
}
