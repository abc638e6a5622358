/**
 * Builds LTX files byte by byte, valid or not, without the encoder. A test can replace each part with a wrong
 * one while the file checksum stays valid. A rejection then comes from the check under test.
 */
import { crc64 } from "../../src/format/crc64.ts";
import { encodeLtxHeader, type LtxHeader } from "../../src/format/ltx.ts";
import { CHECKSUM_FLAG } from "../../src/format/types.ts";
import { pagesChecksum, sampleHeader, samplePage } from "./samples.ts";

/** One page frame; omitted fields are valid. */
export interface RawPage {
  readonly pgno: number;
  readonly data?: Uint8Array;
  readonly flags?: number;
  readonly block?: Uint8Array;
  readonly size?: number;
}

/** A file; omitted fields are valid. */
export interface RawLtx {
  readonly header?: Partial<LtxHeader>;
  readonly pages?: readonly RawPage[];
  readonly index?: readonly (readonly [pgno: number, offset: number, size: number])[];
  readonly indexSize?: number;
  readonly postApplyChecksum?: bigint;
  readonly fileChecksum?: bigint;
}

/** The bytes of the file described by `raw`. */
export function buildLtx(raw: RawLtx): Uint8Array {
  const header = sampleHeader(raw.header);
  const pages = (raw.pages ?? [{ pgno: 1 }, { pgno: 2 }]).map((page) => {
    return { ...page, data: page.data ?? samplePage(header.pageSizeBytes, page.pgno) };
  });
  const file: Uint8Array[] = [encodeLtxHeader(header)];
  const hashed: Uint8Array[] = [...file];
  const index: [number, number, number][] = [];
  let offset = 100;
  for (const page of pages) {
    const block = page.block ?? storedBlock(page.data);
    const head = bigEndian([page.pgno, 4], [page.flags ?? 1, 2], [page.size ?? block.length, 4]);
    file.push(head, block);
    hashed.push(head, page.data);
    index.push([page.pgno, offset, head.length + block.length]);
    offset += head.length + block.length;
  }
  const indexBytes = Uint8Array.from([...(raw.index ?? index).flat().flatMap(leb128), 0]);
  const sum = header.flags === 0 ? pagesChecksum(pages.map(({ pgno, data }) => [pgno, data])) : 0n;
  const tail = [
    new Uint8Array(6),
    indexBytes,
    bigEndian([raw.indexSize ?? indexBytes.length, 8], [raw.postApplyChecksum ?? sum, 8]),
  ];
  const checksum = raw.fileChecksum ?? crc64(Buffer.concat([...hashed, ...tail])) | CHECKSUM_FLAG;
  return new Uint8Array(Buffer.concat([...file, ...tail, bigEndian([checksum, 8])]));
}

/** An LZ4 block of literals only. */
export function storedBlock(data: Uint8Array): Uint8Array {
  if (data.length < 15) return Uint8Array.from([data.length << 4, ...data]);
  const rest = data.length - 15;
  const counts = [...Array.from({ length: Math.floor(rest / 255) }, () => 255), rest % 255];
  return Uint8Array.from([0xf0, ...counts, ...data]);
}

/** An unsigned LEB128 varint, by its definition. */
export function leb128(value: number): number[] {
  const bytes: number[] = [];
  let rest = BigInt(value);
  for (; rest >= 128n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return [...bytes, Number(rest)];
}

function bigEndian(...fields: (readonly [value: number | bigint, sizeBytes: number])[]): Uint8Array {
  const bytes = fields.flatMap(([value, sizeBytes]) => {
    return Array.from({ length: sizeBytes }, (_, index) => {
      return Number((BigInt(value) >> BigInt(8 * (sizeBytes - 1 - index))) & 255n);
    });
  });
  return Uint8Array.from(bytes);
}
