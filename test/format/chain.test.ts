/** The SHA-256 chain against an independent implementation: values computed by Python's hashlib. */
import { describe, expect, test } from "bun:test";
import { CHAIN_ZERO, hex, isChainLink, nextChain, parseHex32, sha256 } from "../../src/format/chain.ts";
import type { Txid } from "../../src/format/types.ts";
import { expectRefusal } from "./samples.ts";

const bytesOf = (text: string) => new TextEncoder().encode(text);

describe("sha256", () => {
  test("has the published values", () => {
    expect(hex(sha256(new Uint8Array(0)))).toBe(
      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    );
    expect(hex(sha256(bytesOf("abc")))).toBe(
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    );
  });
});

describe("nextChain", () => {
  test("is the SHA-256 of the previous value and the object's SHA-256", () => {
    const first = nextChain(CHAIN_ZERO, sha256(bytesOf("one")));
    expect(hex(first)).toBe("c7e3347570821fed43690c2125ce36b1fb0ca7787ba0f219b8e75ee0fc7b4644");
    const second = nextChain(first, sha256(bytesOf("two")));
    expect(hex(second)).toBe("b88f3f290fe4ac11da329c5515b418b937de9be1abffb4ff40de976ef83a28ee");
    expect(hex(CHAIN_ZERO)).toBe("0".repeat(64));
  });

  test("depends on the order", () => {
    const [a, b] = [sha256(bytesOf("one")), sha256(bytesOf("two"))];
    const ab = nextChain(nextChain(CHAIN_ZERO, a), b);
    expect(hex(nextChain(nextChain(CHAIN_ZERO, b), a))).not.toBe(hex(ab));
  });

  test("refuses anything but 32 bytes", () => {
    expectRefusal(() => nextChain(new Uint8Array(0), CHAIN_ZERO), "internal", "got 0 and 32 bytes");
    expectRefusal(() => nextChain(CHAIN_ZERO, new Uint8Array(33)), "internal", "got 32 and 33 bytes");
  });
});

describe("parseHex32", () => {
  test("inverts hex", () => {
    const value = sha256(bytesOf("x"));
    expect(parseHex32(hex(value))).toEqual(value);
  });

  test("rejects every other length, upper case and other characters", () => {
    const text = hex(CHAIN_ZERO);
    const wrong = [
      "",
      text.slice(1),
      `${text}0`,
      `${text}\n`,
      `A${text.slice(1)}`,
      `g${text.slice(1)}`,
      ` ${text.slice(1)}`,
    ];
    for (const each of wrong) expectRefusal(() => parseHex32(each), "corrupt", "expected 64 lower-case");
  });
});

test.each([
  ["an increment", 0, 2, true],
  ["an increment of TXID 1", 0, 1, true],
  ["the first snapshot", 9, 1, true],
  ["a later snapshot", 9, 2, false],
  ["a merged object", 1, 2, false],
  ["a merged object of the highest level", 3, 900, false],
] as const)("isChainLink: %s", (_, level, maxTxid, expected) => {
  expect(isChainLink({ level, maxTxid: maxTxid as Txid })).toBe(expected);
});
