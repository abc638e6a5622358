/** The format of the state file, against bytes that are laid out by hand, and every rejection. */
import { describe, expect, test } from "bun:test";
import { crc64 } from "../../src/format/crc64.ts";
import type { Checksum, Txid } from "../../src/format/types.ts";
import {
  decodeSlotOrNull,
  decodeStateFile,
  encodeSlot,
  encodeStateFile,
  type StateHead,
  type StatePosition,
  sealedLine,
  sealedLineOrNull,
  slotOffset,
} from "../../src/local/state-record.ts";

const ID = 0x0123456789abcdefn;
const HEAD: StateHead = {
  id: ID,
  destination: "s3://bucket/präfix",
  name: "romneys/app",
  writer: "0123456789abcdef".repeat(2),
  home: { machine: "m", boot: null, device: "1", inode: "18446744073709551615" },
};
const POSITION: StatePosition = {
  txid: 41 as Txid,
  timeMs: 1_700_000_000_123,
  pageSizeBytes: 65_536,
  commit: 4_294_967_294,
  checksum: 0x8000000000000001n as Checksum,
  chain: "ab".repeat(32),
  wal: { salt1: 4_294_967_295, salt2: 2, frameCount: 7, checksum1: 1, checksum2: 3 },
  file: {
    inode: "18446744073709551615",
    sizeBytes: 2 ** 48,
    modifiedNs: "-1",
    bornNs: "1700000000123456789",
    wal: { inode: "5", bornNs: "6" },
    restedNs: "7",
  },
  snapshot: { txid: 3 as Txid, timeMs: 1_600_000_000_000 },
};

/** A copy of the bytes of a slot: the next call changes them. */
function slotOf(sequence = 4, position = POSITION): Buffer {
  return Buffer.from(encodeSlot(ID, sequence, position));
}

/** Changes bytes of a slot and gives the slot a right checksum. */
function sealed(change: (slot: Buffer) => void): Buffer {
  const slot = slotOf();
  change(slot);
  slot.writeBigUInt64BE(crc64(slot.subarray(0, 504)), 504);
  return slot;
}

describe("a slot", () => {
  test("encodeSlot lays out the fields of the specification", () => {
    const expected = Buffer.alloc(512);
    expected.write("WALSLOT2", 0);
    expected.writeBigUInt64BE(ID, 8);
    expected.writeBigUInt64BE(4n, 16);
    expected.writeBigUInt64BE(41n, 24);
    expected.writeBigUInt64BE(1_700_000_000_123n, 32);
    expected.writeUInt32BE(65_536, 40);
    expected.writeUInt32BE(4_294_967_294, 44);
    expected.writeBigUInt64BE(0x8000000000000001n, 48);
    expected.fill(0xab, 56, 88);
    expected.writeUInt32BE(63, 88);
    for (const [index, word] of [4_294_967_295, 2, 7, 1, 3].entries())
      expected.writeUInt32BE(word, 92 + 4 * index);
    expected.fill(0xff, 112, 120);
    expected.writeBigUInt64BE(2n ** 48n, 120);
    expected.fill(0xff, 128, 136);
    expected.writeBigUInt64BE(1700000000123456789n, 136);
    for (const [index, number] of [5n, 6n, 7n, 3n, 1_600_000_000_000n].entries())
      expected.writeBigUInt64BE(number, 144 + 8 * index);
    expected.writeBigUInt64BE(crc64(expected.subarray(0, 504)), 504);
    expect(slotOf().toString("hex")).toBe(expected.toString("hex"));
  });

  test.each<[string, Partial<StatePosition>]>([
    ["all fields", {}],
    ["no WAL position", { wal: null }],
    ["no snapshot", { snapshot: null }],
    ["the least of a file", { file: { inode: "1", sizeBytes: 0, modifiedNs: "0" } }],
    [
      "a file without its times of birth",
      { file: { inode: "1", sizeBytes: 0, modifiedNs: "0", restedNs: "9" } },
    ],
  ])("decodeSlotOrNull inverts encodeSlot: %s", (_, change) => {
    const position = { ...POSITION, ...change };
    expect(decodeSlotOrNull(slotOf(4, position), ID, 0)).toEqual({ sequence: 4, position });
    const { file: __, ...without } = position;
    expect(decodeSlotOrNull(slotOf(5, without), ID, 1)).toEqual({ sequence: 5, position: without });
  });

  test("encodeSlot leaves nothing of the slot before", () => {
    slotOf();
    const { file: _, ...without } = POSITION;
    const bare = { ...without, wal: null, snapshot: null };
    expect(
      slotOf(6, bare)
        .subarray(92, 504)
        .every((byte) => byte === 0),
    ).toBe(true);
  });

  test("decodeSlotOrNull refuses every flipped bit", () => {
    const slot = slotOf();
    for (let bit = 0; bit < slot.length * 8; bit++) {
      const damaged = Buffer.from(slot);
      damaged[bit >> 3] = damaged[bit >> 3]! ^ (1 << (bit & 7));
      expect(decodeSlotOrNull(damaged, ID, 0)).toBeNull();
    }
  });

  test.each<[string, (slot: Buffer) => unknown]>([
    ["another magic", (slot) => slot.write("WALSLOT3", 0)],
    ["the id of another file", (slot) => slot.writeBigUInt64BE(1n, 8)],
    ["sequence number 0", (slot) => slot.writeBigUInt64BE(0n, 16)],
    ["a sequence number of the other slot", (slot) => slot.writeBigUInt64BE(5n, 16)],
    ["a sequence number past 2^53", (slot) => slot.writeBigUInt64BE(2n ** 54n, 16)],
    ["TXID 0", (slot) => slot.writeBigUInt64BE(0n, 24)],
    ["a TXID past 2^53", (slot) => slot.writeBigUInt64BE(2n ** 53n, 24)],
    ["a time past the year 9999", (slot) => slot.writeBigUInt64BE(2n ** 52n, 32)],
    ["a page size of 256", (slot) => slot.writeUInt32BE(256, 40)],
    ["no pages", (slot) => slot.writeUInt32BE(0, 44)],
    ["an unknown flag", (slot) => slot.writeUInt32BE(127, 88)],
    ["snapshot TXID 0", (slot) => slot.writeBigUInt64BE(0n, 168)],
    ["a byte among the zeros", (slot) => slot.writeUInt8(1, 300)],
  ])("decodeSlotOrNull refuses %s under a right checksum", (_, change) => {
    expect(
      decodeSlotOrNull(
        sealed(() => {}),
        ID,
        0,
      ),
    ).not.toBeNull();
    expect(decodeSlotOrNull(sealed(change), ID, 0)).toBeNull();
  });
});

describe("a file", () => {
  function decoded(bytes: Uint8Array): ReturnType<typeof decodeStateFile> {
    return decodeStateFile(bytes, sealedLineOrNull(bytes)!);
  }

  test("encodeStateFile has a head that begins with readable text, and one slot", () => {
    const bytes = Buffer.from(encodeStateFile(HEAD, POSITION));
    const [line = "", seal = ""] = bytes.toString().split("\n");
    expect(JSON.parse(line)).toEqual({ ...HEAD, format: 2, id: "123456789abcdef" });
    expect(seal).toBe(crc64(new TextEncoder().encode(line)).toString(16).padStart(16, "0"));
    expect(bytes.length % 512).toBe(0);
    expect(bytes.subarray(-1024, -512).every((byte) => byte === 0)).toBe(true);
    expect(decoded(bytes)).toEqual({ head: HEAD, sequence: 1, position: POSITION });
    const offsets = [1, 2, 3].map((sequence) => bytes.length - slotOffset(bytes.length, sequence));
    expect(offsets).toEqual([512, 1024, 512]);
  });

  test("encodeStateFile and decodeStateFile agree on the size of the head, whatever its text", () => {
    for (let length = 1; length < 1_200; length += 7) {
      const head = { ...HEAD, name: "n".repeat(length) };
      expect(decoded(encodeStateFile(head, POSITION)).head).toEqual(head);
    }
  });

  test.each<[string, Readonly<Record<string, unknown>>, string]>([
    ["id", { id: "xyz" }, "id is"],
    ["destination", { destination: "" }, "destination is"],
    ["name", { name: 5 }, "name is"],
    ["writer", { writer: "0123" }, "writer is"],
    ["home", { home: { machine: 5 } }, "home is malformed"],
    ["absent home", { home: undefined }, "home is malformed"],
  ])("decodeStateFile refuses a wrong %s under a right checksum", (_, change, reason) => {
    const fields = { ...HEAD, format: 2, id: "123456789abcdef", ...change };
    const text = Buffer.from(sealedLine(JSON.stringify(fields)));
    const head = Buffer.concat([text, Buffer.alloc((512 - (text.length % 512)) % 512)]);
    const bytes = Buffer.concat([head, Buffer.alloc(512), slotOf(1)]);
    expect(() => decoded(bytes)).toThrow(reason);
  });

  test("decodeStateFile refuses another size, and a head with a rest", () => {
    const bytes = Buffer.from(encodeStateFile(HEAD, POSITION));
    expect(() => decoded(bytes.subarray(0, -1))).toThrow("expected");
    expect(() => decoded(Buffer.concat([bytes, Buffer.alloc(512)]))).toThrow("expected");
    const rest = Buffer.from(bytes);
    rest[bytes.length - 1025] = 1;
    expect(() => decoded(rest)).toThrow("not filled with zeros");
  });

  test("decodeStateFile of a file without a valid slot gives the head and no position", () => {
    const torn = Buffer.from(encodeStateFile(HEAD, POSITION));
    torn.fill(0, torn.length - 512);
    for (const bytes of [torn, encodeStateFile(HEAD, null)])
      expect(decoded(bytes)).toEqual({ head: HEAD, sequence: 0, position: null });
  });

  test("sealedLineOrNull accepts a missing last newline, and no other change", () => {
    const bytes = Buffer.from(sealedLine('{"a":1}'));
    expect(sealedLineOrNull(bytes)).toBe('{"a":1}');
    expect(sealedLineOrNull(bytes.subarray(0, -1))).toBe('{"a":1}');
    for (let length = 0; length < bytes.length - 1; length++)
      expect(sealedLineOrNull(bytes.subarray(0, length))).toBeNull();
    expect(sealedLineOrNull(Buffer.from("no line"))).toBeNull();
  });
});
