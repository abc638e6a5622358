/** The metadata of objects: decoding inverts encoding, and rejects malformed values. */
import { describe, expect, test } from "bun:test";
import { hasCode } from "../../../src/errors.ts";
import {
  decodeMetadata,
  encodeMetadata,
  type WalrustMetadata,
} from "../../../src/storage/contract/object-metadata.ts";

const FULL: WalrustMetadata = {
  timeMs: Date.UTC(2026, 2, 1, 12, 0, 0, 7),
  sha256: "a1".repeat(32),
  chain: "b2".repeat(32),
  previousChain: "00".repeat(32),
  writer: "c3".repeat(16),
  version: "0.4.0",
};
const NONE: WalrustMetadata = {
  timeMs: null,
  sha256: null,
  chain: null,
  previousChain: null,
  writer: null,
  version: null,
};

describe("object metadata", () => {
  test("encodeMetadata uses the documented names", () => {
    expect(encodeMetadata(FULL)).toEqual({
      "litestream-timestamp": "2026-03-01T12:00:00.007Z",
      sha256: FULL.sha256!,
      chain: FULL.chain!,
      "prev-chain": FULL.previousChain!,
      "walrust-writer": FULL.writer!,
      "walrust-version": "0.4.0",
    });
    expect(encodeMetadata(NONE)).toEqual({});
  });

  test("decodeMetadata inverts encodeMetadata, also for each field alone", () => {
    expect(decodeMetadata("k", encodeMetadata(FULL))).toEqual(FULL);
    expect(decodeMetadata("k", {})).toEqual(NONE);
    for (const field of Object.keys(FULL) as (keyof WalrustMetadata)[]) {
      const one = { ...NONE, [field]: FULL[field] };
      expect(decodeMetadata("k", encodeMetadata(one))).toEqual(one);
    }
  });

  test("decodeMetadata reads Litestream's fields and ignores unknown ones", () => {
    const metadata = { "litestream-timestamp": "2026-03-01T12:00:00.123456789Z", "x-other": "y" };
    expect(decodeMetadata("k", metadata)).toEqual({ ...NONE, timeMs: Date.UTC(2026, 2, 1, 12, 0, 0, 123) });
  });

  test.each([
    ["litestream-timestamp", ""],
    ["litestream-timestamp", "yesterday"],
    ["sha256", ""],
    ["sha256", "a1".repeat(31)],
    ["sha256", "a1".repeat(33)],
    ["sha256", "A1".repeat(32)],
    ["chain", "g".repeat(64)],
    ["chain", `${"a1".repeat(32)}\n`],
    ["prev-chain", "0x"],
  ])("decodeMetadata refuses %s = %p and names the object", (field, value) => {
    try {
      decodeMetadata("app/0000/x.ltx", { [field]: value });
      expect.unreachable();
    } catch (error) {
      expect(hasCode(error, "integrity")).toBe(true);
      expect(String(error)).toContain(`${field} of app/0000/x.ltx`);
    }
  });
});
