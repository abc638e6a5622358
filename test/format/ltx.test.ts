/** LTX header and trailer: the offset table, a header by the ltx CLI, and one test for each rejection. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  decodeLtxHeader,
  decodeLtxTrailer,
  encodeLtxHeader,
  encodeLtxTrailer,
  FLAG_NO_CHECKSUM,
  isSnapshot,
  LTX_HEADER_FIELDS,
  LTX_HEADER_SIZE,
  LTX_TRAILER_FIELDS,
  LTX_TRAILER_SIZE,
  type LtxHeader,
} from "../../src/format/ltx.ts";
import {
  CHECKSUM_FLAG,
  type Checksum,
  TIME_MAX_MS,
  TIME_MIN_MS,
  TXID_MAX,
  type Txid,
} from "../../src/format/types.ts";
import { cases } from "../support/property-cases.ts";
import { expectRefusal, sampleHeader, vector } from "./samples.ts";

const SUM = (CHECKSUM_FLAG | 5n) as Checksum;
const INCREMENT = sampleHeader({ minTxid: 7 as Txid, maxTxid: 9 as Txid, preApplyChecksum: SUM });

describe("LTX_HEADER_FIELDS", () => {
  for (const [name, fields, size] of [
    ["header", LTX_HEADER_FIELDS, LTX_HEADER_SIZE],
    ["trailer", LTX_TRAILER_FIELDS, LTX_TRAILER_SIZE],
  ] as const) {
    test(`tile the ${name} without gap or overlap`, () => {
      let end = 0;
      for (const [offset, sizeBytes] of Object.values(fields)) {
        expect(offset).toBe(end);
        end += sizeBytes;
      }
      expect(end).toBe(size);
    });
  }
});

describe("decodeLtxHeader", () => {
  test("decodes the header of `ltx encode-db`", () => {
    const header = decodeLtxHeader(vector("encode-db-4096.ltx"));
    const { timestampMs, ...rest } = header;
    const commit = vector("encode-db-4096.db").length / 4096;
    const { timestampMs: _, ...expected } = sampleHeader({ pageSizeBytes: 4096, commit });
    expect(rest).toEqual(expected);
    expect(timestampMs).toBeGreaterThan(1_700_000_000_000);
    expect(isSnapshot(header)).toBe(true);
  });

  test("round trips every valid header", () => {
    const uint32 = fc.integer({ min: 0, max: 0xffffffff });
    const checksum = fc.bigInt({ min: 1n << 63n, max: (1n << 64n) - 1n });
    const header = fc.record({
      flags: fc.constantFrom(0, FLAG_NO_CHECKSUM),
      pageSizeBytes: fc.constantFrom(512, 1024, 2048, 4096, 8192, 16384, 32768, 65536),
      commit: uint32,
      txids: fc.tuple(fc.maxSafeNat(), fc.maxSafeNat()),
      timestampMs: fc.integer({ min: TIME_MIN_MS, max: TIME_MAX_MS }),
      preApplyChecksum: checksum,
      walOffset: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
      walSizeBytes: fc.maxSafeNat(),
      walSalt1: uint32,
      walSalt2: uint32,
      nodeId: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
    });
    const property = fc.property(header, ({ txids, preApplyChecksum, ...rest }) => {
      const [minTxid, maxTxid] = txids.map((txid) => Math.max(1, txid)).sort((a, b) => a - b);
      const isPlain = rest.flags === 0 && minTxid !== 1;
      const value = {
        ...rest,
        minTxid,
        maxTxid,
        preApplyChecksum: isPlain ? preApplyChecksum : 0n,
      } as LtxHeader;
      expect(decodeLtxHeader(encodeLtxHeader(value))).toEqual(value);
    });
    fc.assert(property, cases(300, 100));
  });

  test("rejects every truncation, the empty file included", () => {
    const bytes = encodeLtxHeader(INCREMENT);
    for (let size = 0; size < LTX_HEADER_SIZE; size++) {
      expectRefusal(() => decodeLtxHeader(bytes.subarray(0, size)), "corrupt", `at byte ${size}: it ends`);
    }
  });

  const big = 1n << 53n;
  const refusals: [string, number, 4 | 8, bigint, string][] = [
    ["another magic", 0, 4, 0x4c545832n, 'at byte 0: magic is 0x4c545832, expected "LTX1"'],
    ["unknown flags", 4, 4, 1n, "at byte 4: flags are 1, expected 0 or 2"],
    ["the highest flag", 4, 4, 1n << 31n, "at byte 4: flags are 2147483648"],
    [
      "a page size that is no power of two",
      8,
      4,
      1000n,
      "Cannot decode LTX header at byte 8: page size is 1000, expected a power of two from 512 to 65536",
    ],
    ["a page size below 512", 8, 4, 256n, "at byte 8: page size is 256"],
    ["a page size above 65536", 8, 4, 131072n, "at byte 8: page size is 131072"],
    ["min TXID 0", 16, 8, 0n, "at byte 16: min TXID is 0"],
    ["a min TXID above 2^53 - 1", 16, 8, big, "at byte 16: min TXID is 9007199254740992"],
    ["max TXID 0", 24, 8, 0n, "at byte 24: max TXID is 0"],
    ["a max TXID above 2^53 - 1", 24, 8, big + 1n, "at byte 24: max TXID is 9007199254740992"],
    ["TXIDs out of order", 24, 8, 6n, "at byte 24: max TXID is 6, expected at least 7"],
    ["a timestamp beyond 2^53", 32, 8, big, "at byte 32: timestamp"],
    ["a missing pre-apply checksum", 40, 8, 0n, "at byte 40: pre-apply checksum is 0000000000000000"],
    ["a pre-apply checksum without bit 63", 40, 8, 5n, "at byte 40: pre-apply checksum is 0000000000000005"],
    ["a negative WAL offset", 48, 8, (1n << 64n) - 1n, "at byte 48: WAL offset is -1"],
    ["a negative WAL size", 56, 8, (1n << 64n) - 2n, "at byte 56: WAL size is -2"],
    ["a WAL size without an offset", 56, 8, 1n, "at byte 48: WAL offset is 0"],
    ["WAL salt 1 without an offset", 64, 4, 1n, "at byte 48: WAL offset is 0"],
    ["WAL salt 2 without an offset", 68, 4, 1n, "at byte 48: WAL offset is 0"],
  ];
  for (const [name, at, sizeBytes, value, text] of refusals) {
    test(`rejects ${name}`, () => {
      const bytes = encodeLtxHeader(INCREMENT);
      const view = new DataView(bytes.buffer);
      if (sizeBytes === 4) view.setUint32(at, Number(value));
      else view.setBigUint64(at, value);
      expectRefusal(() => decodeLtxHeader(bytes), "corrupt", text);
    });
  }

  test("rejects a pre-apply checksum in a snapshot, and in a file without checksums", () => {
    for (const header of [sampleHeader(), sampleHeader({ flags: FLAG_NO_CHECKSUM, minTxid: 1 as Txid })]) {
      const bytes = encodeLtxHeader(header);
      new DataView(bytes.buffer).setBigUint64(40, SUM);
      expectRefusal(
        () => decodeLtxHeader(bytes),
        "corrupt",
        "at byte 40: pre-apply checksum is 8000000000000005",
      );
    }
  });
});

describe("encodeLtxHeader", () => {
  const refusals: [string, Partial<LtxHeader>, string][] = [
    ["unknown flags", { flags: 4 }, "flags are 4"],
    ["a wrong page size", { pageSizeBytes: 513 }, "page size is 513"],
    ["a negative commit", { commit: -1 }, "commit is -1"],
    ["a commit above 32 bits", { commit: 2 ** 32 }, "commit is 4294967296"],
    ["TXID 0", { minTxid: 0 as Txid }, "min TXID is 0"],
    ["TXIDs out of order", { minTxid: 10 as Txid }, "max TXID is 9"],
    ["a TXID above 2^53 - 1", { maxTxid: (TXID_MAX + 1) as Txid }, "max TXID"],
    ["a timestamp that is no integer", { timestampMs: 0.5 }, "timestamp is 0.5"],
    ["a timestamp after the year 9999", { timestampMs: TIME_MAX_MS + 1 }, "timestamp is 253402300800000"],
    ["a timestamp before the year 0", { timestampMs: TIME_MIN_MS - 1 }, "timestamp is -62167219200001"],
    ["a pre-apply checksum that is missing", { preApplyChecksum: 0n as Checksum }, "pre-apply checksum"],
    [
      "a pre-apply checksum above 64 bits",
      { preApplyChecksum: (1n << 64n) as Checksum },
      "pre-apply checksum",
    ],
    ["a WAL offset that is no number", { walOffset: Number.NaN }, "WAL offset is NaN"],
    ["a negative WAL size", { walOffset: 32, walSizeBytes: -1 }, "WAL size is -1"],
    ["a salt above 32 bits", { walOffset: 32, walSalt1: 2 ** 32 }, "WAL salt"],
    ["a negative salt", { walOffset: 32, walSalt2: -1 }, "WAL salt"],
    ["a node id above 64 bits", { nodeId: 1n << 64n }, "node id"],
  ];
  for (const [name, changes, text] of refusals) {
    test(`rejects ${name}`, () => {
      expectRefusal(() => encodeLtxHeader({ ...INCREMENT, ...changes }), "internal", text);
    });
  }
});

describe("LTX trailer", () => {
  const trailer = { postApplyChecksum: SUM, fileChecksum: CHECKSUM_FLAG };
  const without = sampleHeader({ flags: FLAG_NO_CHECKSUM });

  test("round trips with and without checksums", () => {
    expect(decodeLtxTrailer(encodeLtxTrailer(trailer, INCREMENT), INCREMENT)).toEqual(trailer);
    const none = { postApplyChecksum: 0n as Checksum, fileChecksum: SUM };
    expect(decodeLtxTrailer(encodeLtxTrailer(none, without), without)).toEqual(none);
  });

  test("rejects every other length", () => {
    for (const size of [0, 1, 15, 17]) {
      expectRefusal(
        () => decodeLtxTrailer(new Uint8Array(size), INCREMENT),
        "corrupt",
        `it has ${size} bytes`,
      );
    }
  });

  test("rejects checksums without bit 63, and a post-apply checksum in a file without checksums", () => {
    const file = (post: bigint, sum: bigint) => {
      const bytes = new Uint8Array(16);
      new DataView(bytes.buffer).setBigUint64(0, post);
      new DataView(bytes.buffer).setBigUint64(8, sum);
      return bytes;
    };
    expectRefusal(
      () => decodeLtxTrailer(file(0n, SUM), INCREMENT),
      "corrupt",
      "at byte 0: post-apply checksum",
    );
    expectRefusal(
      () => decodeLtxTrailer(file(5n, SUM), INCREMENT),
      "corrupt",
      "at byte 0: post-apply checksum",
    );
    expectRefusal(
      () => decodeLtxTrailer(file(SUM, SUM), without),
      "corrupt",
      "at byte 0: post-apply checksum",
    );
    expectRefusal(() => decodeLtxTrailer(file(SUM, 5n), INCREMENT), "corrupt", "at byte 8: file checksum");
    const wrong = { ...trailer, fileChecksum: 0n as Checksum };
    expectRefusal(() => encodeLtxTrailer(wrong, INCREMENT), "internal", "file checksum");
    expectRefusal(() => encodeLtxTrailer(trailer, without), "internal", "post-apply checksum");
  });
});
