/** LZ4 frames of older ltx versions, cut out of a vector, and XXH32 against published values. */
import { describe, expect, test } from "bun:test";
import { decodeLz4Frame, measureLz4Frame, xxh32 } from "../../src/format/lz4-frame.ts";
import { expectRefusal, vector } from "./samples.ts";

const PAGE_SIZE = 512;
/** The frame of page 1 and all bytes after it. */
const REST = vector("encode-db-512-frames.ltx").subarray(106);
const PAGE: Uint8Array = vector("encode-db-512.db").subarray(0, PAGE_SIZE);

function wholeFrame(): Uint8Array {
  let size = 0;
  for (let isWhole = false; !isWhole; ) {
    ({ sizeBytes: size, isWhole } = measureLz4Frame(REST.subarray(0, size), PAGE_SIZE));
  }
  return REST.slice(0, size);
}

describe("decodeLz4Frame", () => {
  test("decodes a frame by pierrec/lz4, measured from its beginning", () => {
    const target: Uint8Array = new Uint8Array(PAGE_SIZE);
    decodeLz4Frame(wholeFrame(), target);
    expect(target).toEqual(PAGE);
  });

  test("rejects every single-byte flip, or decodes the same page", () => {
    const frame = wholeFrame();
    let refusals = 0;
    for (let at = 0; at < frame.length; at++) {
      const flipped = frame.slice();
      flipped[at]! ^= 0x21;
      const target: Uint8Array = new Uint8Array(PAGE_SIZE);
      try {
        if (measureLz4Frame(flipped, PAGE_SIZE).sizeBytes !== frame.length) refusals++;
        else {
          decodeLz4Frame(flipped, target);
          expect(target).toEqual(PAGE);
        }
      } catch (error) {
        expect(error).toMatchObject({ code: "corrupt" });
        refusals++;
      }
    }
    expect(refusals).toBeGreaterThan(frame.length * 0.9);
  });

  test("rejects content that does not fill the page", () => {
    expectRefusal(
      () => decodeLz4Frame(wholeFrame(), new Uint8Array(1024)),
      "corrupt",
      "content is 512 bytes",
    );
  });
});

describe("measureLz4Frame", () => {
  const changes: [string, number, number, string][] = [
    ["a wrong magic", 0, 0xff, "magic is wrong"],
    ["another version", 4, 0xc0, "version is 2"],
    ["a dictionary", 4, 0x01, "dictionary"],
    ["a block size of a gigabyte", 10, 0x40, "block size is"],
  ];
  for (const [name, at, mask, text] of changes) {
    test(`rejects ${name}`, () => {
      const frame = wholeFrame();
      frame[at]! ^= mask;
      expectRefusal(() => measureLz4Frame(frame, PAGE_SIZE), "corrupt", text);
    });
  }
});

describe("xxh32", () => {
  test("has the published values", () => {
    const hash = (text: string) => xxh32(new TextEncoder().encode(text));
    expect(hash("")).toBe(0x02cc5d05);
    expect(hash("abc")).toBe(0x32d153ff);
    expect(hash("Nobody inspects the spammish repetition")).toBe(0xe2293b2f);
  });
});
