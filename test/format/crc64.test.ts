/**
 * CRC-64 against its check value, a bit-by-bit reference, and the ltx CLI's database checksum.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Crc64, crc64, pageChecksum, pageChecksumInto, xorChecksum } from "../../src/format/crc64.ts";
import { formatChecksum } from "../../src/format/ltx.ts";
import { CHECKSUM_FLAG, type Checksum } from "../../src/format/types.ts";
import { cases } from "../support/property-cases.ts";
import { peerPath, testWith } from "../support/servers/peers.ts";
import { pagesChecksum, samplePage, vector, vectorPath } from "./samples.ts";

/** CRC-64 by its definition, one bit at a time. */
function referenceCrc64(bytes: Uint8Array): bigint {
  let crc = 0xffffffffffffffffn;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1n) === 1n ? (crc >> 1n) ^ 0xd800000000000000n : crc >> 1n;
  }
  return crc ^ 0xffffffffffffffffn;
}

describe("crc64", () => {
  test("has the check value of CRC-64/GO-ISO", () => {
    expect(crc64(new TextEncoder().encode("123456789"))).toBe(0xb90956c775a41001n);
  });

  test("is 0 for no bytes", () => {
    expect(crc64(new Uint8Array(0))).toBe(0n);
    expect(new Crc64().value()).toBe(0n);
  });

  test("equals the bitwise definition for any length and alignment", () => {
    const property = fc.property(fc.uint8Array({ maxLength: 70 }), fc.nat(7), (bytes, shift) => {
      const shifted = new Uint8Array(bytes.length + shift);
      shifted.set(bytes, shift);
      return crc64(shifted.subarray(shift)) === referenceCrc64(bytes);
    });
    fc.assert(property, cases(300, 64));
  });

  test("equals the bitwise definition around the length from which on words are folded", () => {
    const bytes = samplePage(1_100, 9);
    // All lengths near twice 256 bytes, then some of each remainder by 4 and 16 bytes.
    for (let size = 496; size <= bytes.length; size += size < 544 ? 1 : 5)
      expect(crc64(bytes.subarray(0, size))).toBe(referenceCrc64(bytes.subarray(0, size)));
  });

  test("is the same over pieces, also beyond the scratch memory", () => {
    const bytes = samplePage(200_003, 7);
    const whole = crc64(bytes);
    const crc = new Crc64();
    for (let start = 0, step = 1; start < bytes.length; start += step, step = (step * 3) % 70_001) {
      crc.update(bytes.subarray(start, start + step));
    }
    expect(crc.value()).toBe(whole);
    expect(crc.checksum()).toBe((whole | CHECKSUM_FLAG) as Checksum);
    crc.reset();
    expect(crc.value()).toBe(0n);
  });

  test("equals the bitwise definition beyond the scratch memory", () => {
    const bytes = samplePage(65_536 + 13, 8);
    expect(crc64(bytes)).toBe(referenceCrc64(bytes));
  });
});

describe("pageChecksum", () => {
  test("is the CRC of the big-endian page number and the page, with bit 63 set", () => {
    for (const pgno of [1, 255, 0x01020304, 0xfffffffe]) {
      const page = samplePage(512, pgno);
      const bytes = new Uint8Array(516);
      new DataView(bytes.buffer).setUint32(0, pgno);
      bytes.set(page, 4);
      const expected = (referenceCrc64(bytes) | CHECKSUM_FLAG) as Checksum;
      expect(pageChecksum(pgno, page)).toBe(expected);
      const halves = new Uint32Array(2);
      pageChecksumInto(pgno, page, halves);
      expect((BigInt(halves[1]!) << 32n) | BigInt(halves[0]!)).toBe(expected);
    }
  });

  test("accepts pages up to 65536 bytes and no larger ones", () => {
    expect(pageChecksum(1, new Uint8Array(65536))).toBeGreaterThan(CHECKSUM_FLAG);
    expect(() => pageChecksum(1, new Uint8Array(65537))).toThrow(RangeError);
  });

  for (const pageSizeBytes of [512, 4096]) {
    testWith("ltx")(
      `adds up to what \`ltx checksum\` says of a database with pages of ${pageSizeBytes}`,
      () => {
        const image = vector(`encode-db-${pageSizeBytes}.db`);
        const pages = Array.from({ length: image.length / pageSizeBytes }, (_, index) => {
          return [index + 1, image.subarray(index * pageSizeBytes, (index + 1) * pageSizeBytes)] as const;
        });
        const path = vectorPath(`encode-db-${pageSizeBytes}.db`);
        const output = Bun.spawnSync([peerPath("ltx"), "checksum", path]).stdout.toString();
        expect(output.trim()).toContain(formatChecksum(pagesChecksum(pages)));
      },
    );
  }
});

describe("xorChecksum", () => {
  test("removes an added checksum and keeps bit 63", () => {
    const a = pageChecksum(1, samplePage(512, 1));
    const b = pageChecksum(2, samplePage(512, 2));
    expect(xorChecksum(xorChecksum(a, b), b)).toBe(a);
    expect(xorChecksum(a, a)).toBe(CHECKSUM_FLAG);
  });
});
