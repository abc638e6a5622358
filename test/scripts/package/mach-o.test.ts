/** Ad-hoc signatures of macOS executables, on a small Mach-O file, judged by hashes from the definition. */
import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { isSignatureValid, signAdHoc } from "../../../scripts/package/mach-o.ts";

const PAGE = 4096;
/** Three pages of code, the last one short, and a signature behind. */
const CODE_SIZE = 2 * PAGE + 100;
const LINKEDIT_OFFSET = 2 * PAGE;
const SEGMENT_SIZE = 72;
const [TEXT, LINKEDIT, SIGNATURE] = [32, 32 + SEGMENT_SIZE, 32 + 2 * SEGMENT_SIZE] as const;

/** A file with two segments and the place of a signature of some size. */
function machO(place = 400): Uint8Array {
  const bytes = new Uint8Array(CODE_SIZE + place).map((_, index) => index % 251);
  bytes.fill(0, 0, SIGNATURE + 16);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0xfeedfacf, true);
  view.setUint32(16, 3, true);
  for (const [offset, name, start] of [
    [TEXT, "__TEXT", 0],
    [LINKEDIT, "__LINKEDIT", LINKEDIT_OFFSET],
  ] as const) {
    view.setUint32(offset, 0x19, true);
    view.setUint32(offset + 4, SEGMENT_SIZE, true);
    bytes.set(new TextEncoder().encode(name), offset + 8);
    view.setBigUint64(offset + 40, BigInt(start), true);
    view.setBigUint64(offset + 48, BigInt(start === 0 ? PAGE : bytes.length - start), true);
  }
  view.setUint32(SIGNATURE, 0x1d, true);
  view.setUint32(SIGNATURE + 4, 16, true);
  view.setUint32(SIGNATURE + 8, CODE_SIZE, true);
  view.setUint32(SIGNATURE + 12, place, true);
  return bytes;
}

test("signAdHoc writes the hash of each page, and changes the code only where it names the signature", () => {
  const before = machO();
  const bytes = signAdHoc(before, "walrust");
  const view = new DataView(bytes.buffer, CODE_SIZE);
  const read = (offset: number): number => view.getUint32(offset);
  const length = 20 + 88 + "walrust\0".length + 3 * 32;
  expect(bytes.length).toBe(CODE_SIZE + length);
  expect([0, 4, 8, 12, 16].map(read)).toEqual([0xfade0cc0, length, 1, 0, 20]);
  const directory = [0, 4, 8, 12, 16, 20, 24, 28, 32].map((offset) => read(20 + offset));
  expect(directory).toEqual([0xfade0c02, length - 20, 0x20400, 0x20002, 96, 88, 0, 3, CODE_SIZE]);
  expect([36, 37, 38, 39].map((offset) => view.getUint8(20 + offset))).toEqual([32, 2, 0, 12]);
  expect([64, 72, 80].map((offset) => view.getBigUint64(20 + offset))).toEqual([0n, BigInt(PAGE), 1n]);
  const hashes = [0, 1, 2].map((page) => {
    const end = Math.min((page + 1) * PAGE, CODE_SIZE);
    return createHash("sha256")
      .update(bytes.subarray(page * PAGE, end))
      .digest("hex");
  });
  const place = CODE_SIZE + 20 + 96;
  expect(Buffer.from(bytes.subarray(place, place + 96)).toString("hex")).toBe(hashes.join(""));
  const changed = [...before.subarray(0, CODE_SIZE).entries()].filter(([at, byte]) => bytes[at] !== byte);
  const fields = [LINKEDIT + 32, LINKEDIT + 48, SIGNATURE + 12];
  for (const [at] of changed) expect(fields.some((field) => at >= field && at < field + 8)).toBe(true);
});

test.each([100, 400])("signAdHoc fits the file and its segment to the signature, from %d bytes", (place) => {
  const bytes = signAdHoc(machO(place), "walrust");
  const view = new DataView(bytes.buffer);
  expect(CODE_SIZE + view.getUint32(SIGNATURE + 12, true)).toBe(bytes.length);
  expect(LINKEDIT_OFFSET + Number(view.getBigUint64(LINKEDIT + 48, true))).toBe(bytes.length);
  expect(view.getBigUint64(LINKEDIT + 32, true)).toBe(16384n);
});

test("isSignatureValid notices each changed page, as a build changes them", () => {
  const bytes = signAdHoc(machO(), "walrust");
  expect(isSignatureValid(bytes)).toBe(true);
  for (const offset of [250, PAGE, CODE_SIZE - 1]) {
    const changed = bytes.slice();
    changed[offset] = (changed[offset] ?? 0) ^ 1;
    expect(isSignatureValid(changed)).toBe(false);
    expect(isSignatureValid(signAdHoc(changed, "walrust"))).toBe(true);
  }
});

describe("signAdHoc refuses", () => {
  test("another format", () => {
    expect(() => signAdHoc(new Uint8Array(1000), "walrust")).toThrow("no Mach-O file for 64 bits");
  });

  test("a file without a place for a signature", () => {
    const bytes = machO();
    new DataView(bytes.buffer).setUint32(SIGNATURE, 0x1b, true);
    expect(() => signAdHoc(bytes, "walrust")).toThrow("no place for a signature");
  });
});
