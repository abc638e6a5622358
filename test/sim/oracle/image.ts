/**
 * Images of databases as a number for each page, so that the application's process, the replay of the bucket
 * and a restored file can be compared without keeping their bytes.
 */

/** One number for each page of a database, in order. */
export type Image = readonly number[];

/** The number of a page's content. */
export function pageDigest(page: Uint8Array): number {
  return Number((Bun.hash(page) as bigint) & 0x1f_ffff_ffff_ffffn);
}

/** The image of the bytes of a database. */
export function imageOfBytes(bytes: Uint8Array): Image {
  const size = pageSizeOf(bytes);
  const pages: number[] = [];
  for (let offset = 0; offset < bytes.length; offset += size) {
    pages.push(pageDigest(bytes.subarray(offset, offset + size)));
  }
  return pages;
}

/** The name of an image: equal for equal images. */
export function digestOf(image: Image): string {
  return `${image.length}:${(Bun.hash(new Float64Array(image)) as bigint).toString(16)}`;
}

/** The page size in the header of a database: offset 16, 2 bytes, big-endian, 1 for 65,536. */
function pageSizeOf(bytes: Uint8Array): number {
  const size = ((bytes[16] ?? 0) << 8) | (bytes[17] ?? 0);
  return size === 1 ? 65_536 : Math.max(512, size);
}
