/**
 * Backups of other programs, reduced to the evidence that identifies them: keys, and the first bytes of
 * objects. The crate litepages 0.1.0 (encoder of the Rust walrust) wrote both LTX files, with COMPRESS_LZ4
 * and two pages of 4096 bytes: TXIDs 1-24 and 25-25. The keys come from the fixtures of the Rust project.
 */
import type { ObjectStore } from "../../../src/storage/contract/store.ts";

/** A snapshot of TXIDs 1 to 24 as the Rust walrust writes it. */
export const RUST_SNAPSHOT = fromBase64(
  "TFRYMQAAAAEAABAAAAAAAgAAAAAAAAABAAAAAAAAABgAAAGbpQMQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
  "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAQiTRhgQII0AAAAbwAAAAEBAAEA/////////////////////R8C",
  "BBD////////////////////6YAAAAAAAAAAAAACAAAAAAAAABccyMPUh+zJv",
);

/** An increment of TXID 25 as the Rust walrust writes it. */
export const RUST_INCREMENT = fromBase64(
  "TFRYMQAAAAEAABAAAAAAAgAAAAAAAAAZAAAAAAAAABkAAAGbpQMQAIAAAAAAAAAHAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
  "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAQiTRhgQII0AAAAbwAAAAEBAAEA/////////////////////R8C",
  "BBD////////////////////6YAAAAAAAAAAAAACAAAAAAAAABatvSeXFd6Qp",
);

/** The magic, version and flags of an HADBP changeset. */
export const HADBP = new Uint8Array([...Buffer.from("HADBP"), 1, 0, 4, ...new Uint8Array(100)]);

/** The first bytes of an LZ4 frame. */
export const LZ4_FRAME = new Uint8Array([0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82, 0, 0, 0, 0]);

/** The objects of one database by format, with keys relative to the database's name. */
export const FOREIGN_BUCKETS = {
  hadbp: {
    "0000/0000000000000009.hadbp": HADBP,
    "0001/000000000000000a.hadbp": HADBP,
    "levels/L1/000000000000000b-000000000000000d.hadbp": HADBP,
    "state.json": Buffer.from('{"current_seq":27,"wal_generation":3}'),
  },
  "ltx-generations": {
    "0000/0000000000000019-0000000000000019.ltx": RUST_INCREMENT,
    "0002/0000000000000001-0000000000000018.ltx": RUST_SNAPSHOT,
    "levels/L1/000000000000001a-0000000000000028.ltx": HADBP,
  },
  "ltx-flat": {
    "00000001-00000024.ltx": RUST_SNAPSHOT,
    "00000025-00000025.ltx": RUST_INCREMENT,
    "manifest.json": Buffer.from('{"name":"app","current_txid":25,"page_size":4096,"files":[]}'),
  },
  walsync: {
    "snapshots/20240110120000.db": Buffer.from("SQLite format 3\0 and so on"),
    "state.json": Buffer.from('{"wal_offset":0,"wal_generation":0}'),
    "wal/00000001-20240110120001234.wal": new Uint8Array(32),
  },
  "litestream-0.3": {
    "generations/0123456789abcdef/snapshots/00000000.snapshot.lz4": LZ4_FRAME,
    "generations/0123456789abcdef/wal/00000000_00000000.wal.lz4": LZ4_FRAME,
  },
} as const satisfies Readonly<Record<string, Readonly<Record<string, Uint8Array>>>>;

/** The formats of FOREIGN_BUCKETS. */
export const FOREIGN_FORMATS = Object.keys(FOREIGN_BUCKETS) as (keyof typeof FOREIGN_BUCKETS)[];

/** Puts the objects of a format below a database's name. */
export async function putForeign(
  store: ObjectStore,
  database: string,
  objects: Readonly<Record<string, Uint8Array>>,
): Promise<void> {
  for (const [key, bytes] of Object.entries(objects)) {
    await store.put(`${database}/${key}`, { kind: "bytes", bytes });
  }
}

function fromBase64(...lines: string[]): Uint8Array {
  return new Uint8Array(Buffer.from(lines.join(""), "base64"));
}
