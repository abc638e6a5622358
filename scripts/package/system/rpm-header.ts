/**
 * The header of an RPM package: typed values by tag, as the signature and the description of a package hold
 * them.
 *
 * A header is: magic 8e ad e8 01, four zero bytes, the number of entries (4 bytes), the size of the store
 * (4), entries of 16 bytes (tag, type, offset into the store, count, 4 bytes each), the store. Numbers are
 * big-endian and lie at a multiple of their size; texts end with a NUL. The first entry is the region: its 16
 * bytes at the end of the store are an entry with the negative size of all entries, so that a reader can
 * check where the signed part ends. Source: RPM V4 package format, rpm.org.
 */

/** A value of a header. `i18n` is a text of the only language. */
export type HeaderValue =
  | { readonly type: "int16" | "int32"; readonly numbers: readonly number[] }
  | { readonly type: "text" | "i18n"; readonly text: string }
  | { readonly type: "texts"; readonly texts: readonly string[] }
  | { readonly type: "bytes"; readonly bytes: Uint8Array };

/** An entry of a header. */
export interface HeaderEntry {
  readonly tag: number;
  readonly value: HeaderValue;
}

const MAGIC = Buffer.from("8eade80100000000", "hex");
const TYPES = { int16: 3, int32: 4, text: 6, bytes: 7, texts: 8, i18n: 9 } as const;
const SIZES: Readonly<Record<number, number>> = { 3: 2, 4: 4 };
const ENTRY_SIZE = 16;

/**
 * The bytes of a header.
 * @param region the tag of the region
 */
export function rpmHeader(entries: readonly HeaderEntry[], region: number): Buffer {
  const sorted = entries.toSorted((a, b) => a.tag - b.tag);
  const index: Buffer[] = [];
  const store: Buffer[] = [];
  let size = 0;
  for (const { tag, value } of sorted) {
    const type = TYPES[value.type];
    const padding = -size & ((SIZES[type] ?? 1) - 1);
    store.push(Buffer.alloc(padding), contentOf(value));
    index.push(entryOf(tag, type, size + padding, countOf(value)));
    size += padding + store.at(-1)!.length;
  }
  const indexSize = (sorted.length + 1) * ENTRY_SIZE;
  store.push(entryOf(region, TYPES.bytes, -indexSize, ENTRY_SIZE));
  const sizes = Buffer.alloc(8);
  sizes.writeUInt32BE(sorted.length + 1, 0);
  sizes.writeUInt32BE(size + ENTRY_SIZE, 4);
  return Buffer.concat([MAGIC, sizes, entryOf(region, TYPES.bytes, size, ENTRY_SIZE), ...index, ...store]);
}

function entryOf(tag: number, type: number, offset: number, count: number): Buffer {
  const entry = Buffer.alloc(ENTRY_SIZE);
  for (const [place, number] of [tag, type, offset, count].entries()) entry.writeInt32BE(number, place * 4);
  return entry;
}

function contentOf(value: HeaderValue): Buffer {
  switch (value.type) {
    case "int16":
    case "int32": {
      const width = value.type === "int16" ? 2 : 4;
      const bytes = Buffer.alloc(value.numbers.length * width);
      for (const [place, number] of value.numbers.entries()) bytes.writeUIntBE(number, place * width, width);
      return bytes;
    }
    case "bytes":
      return Buffer.from(value.bytes);
    case "texts":
      return Buffer.from(value.texts.map((text) => `${text}\0`).join(""));
    default:
      return Buffer.from(`${value.text}\0`);
  }
}

function countOf(value: HeaderValue): number {
  if (value.type === "texts") return value.texts.length;
  if (value.type === "bytes") return value.bytes.length;
  return value.type === "int16" || value.type === "int32" ? value.numbers.length : 1;
}
