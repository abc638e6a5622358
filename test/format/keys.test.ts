/** Object keys: Litestream's layouts literally, round trips, and keys of other programs. */
import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import fc from "fast-check";
import {
  formatTxid,
  type KeyLayout,
  levelPrefix,
  ltxFileName,
  manifestKey,
  objectKey,
  parseObjectKey,
  parseTxid,
  SNAPSHOT_LEVEL,
} from "../../src/format/keys.ts";
import { TXID_MAX, type Txid } from "../../src/format/types.ts";
import { cases } from "../support/property-cases.ts";
import { expectRefusal, vectorPath } from "./samples.ts";

const txid = (value: number) => value as Txid;

describe("objectKey", () => {
  test("names objects as Litestream does", () => {
    expect(objectKey("s3", "app.db", 0, txid(2), txid(2))).toBe(
      "app.db/0000/0000000000000002-0000000000000002.ltx",
    );
    expect(objectKey("s3", "a/b.db", SNAPSHOT_LEVEL, txid(1), txid(0xabcdef))).toBe(
      "a/b.db/0009/0000000000000001-0000000000abcdef.ltx",
    );
    expect(objectKey("file", "app.db", 9, txid(1), TXID_MAX)).toBe(
      "app.db/ltx/9/0000000000000001-001fffffffffffff.ltx",
    );
    expect(objectKey("s3", "", 1, txid(1), txid(1))).toBe("0001/0000000000000001-0000000000000001.ltx");
  });

  test("names files as Litestream names the files of its replica", () => {
    for (const name of readdirSync(vectorPath("litestream")).filter((each) => each.endsWith(".ltx"))) {
      const key = `app.db/ltx/${name.replace("-", "/")}`;
      const parsed = parseObjectKey("file", key)!;
      expect(objectKey("file", parsed.database, parsed.level, parsed.minTxid, parsed.maxTxid)).toBe(key);
    }
  });

  test("rejects levels and TXIDs out of range, and slashes at either end of a name", () => {
    for (const level of [-1, 10, 0.5]) {
      expectRefusal(() => objectKey("s3", "a", level, txid(1), txid(1)), "internal", "expected 0 to 9");
    }
    for (const [min, max] of [
      [0, 1],
      [2, 1],
      [1, 2 ** 53],
      [1.5, 2],
    ] as const) {
      expectRefusal(
        () => objectKey("s3", "a", 0, txid(min), txid(max)),
        "internal",
        "expected 1 <= min <= max",
      );
    }
    expectRefusal(() => objectKey("s3", "/a", 0, txid(1), txid(1)), "internal", "slash");
    expectRefusal(() => manifestKey("a/"), "internal", "slash");
  });
});

describe("levelPrefix", () => {
  test("ends in a slash and begins every key of the level, and no other's", () => {
    for (const layout of ["s3", "file"] as const) {
      for (let level = 0; level <= 9; level++) {
        const prefix = levelPrefix(layout, "app.db", level);
        expect(prefix.endsWith("/")).toBe(true);
        for (let other = 0; other <= 9; other++) {
          const key = objectKey(layout, "app.db", other, txid(1), txid(9));
          expect(key.startsWith(prefix)).toBe(other === level);
        }
      }
    }
  });
});

describe("parseObjectKey", () => {
  test("inverts objectKey", () => {
    const name = fc.record({
      layout: fc.constantFrom<KeyLayout>("s3", "file"),
      database: fc.oneof(fc.constant(""), fc.stringMatching(/^[a-z0-9._][a-z0-9./_-]{0,20}[a-z0-9._]$/)),
      level: fc.integer({ min: 0, max: 9 }),
      txids: fc.tuple(fc.maxSafeNat(), fc.maxSafeNat()),
    });
    const property = fc.property(name, ({ layout, database, level, txids }) => {
      const [minTxid, maxTxid] = txids.map((each) => Math.max(each, 1)).sort((a, b) => a - b) as [Txid, Txid];
      const key = objectKey(layout, database, level, minTxid, maxTxid);
      expect(parseObjectKey(layout, key)).toEqual({ database, level, minTxid, maxTxid });
    });
    fc.assert(property, cases(300, 9));
  });

  test("is null for any other key", () => {
    const name = "0000000000000001-0000000000000002.ltx";
    const others: [KeyLayout, string][] = [
      ["s3", ""],
      ["s3", name],
      ["s3", manifestKey("app.db")],
      ["s3", `app.db/ltx/0/${name}`],
      ["file", `app.db/0000/${name}`],
      ["s3", `app.db/000a/${name}`],
      ["s3", `app.db/0010/${name}`],
      ["s3", `app.db/000/${name}`],
      ["file", `app.db/ltx/10/${name}`],
      ["s3", `/0000/${name}`],
      ["s3", `app.db/0000/${name}.meta.json`],
      ["s3", `app.db/0000/${name}\n`],
      ["s3", `app.db/0000/x${name}`],
      ["s3", "app.db/0000/0000000000000002-0000000000000001.ltx"],
      ["s3", "app.db/0000/0000000000000000-0000000000000001.ltx"],
      ["s3", "app.db/0000/0000000000000001-0020000000000000.ltx"],
      ["s3", "app.db/0000/000000000000000A-000000000000000B.ltx"],
    ];
    for (const [layout, key] of others) expect(parseObjectKey(layout, key)).toBeNull();
  });
});

describe("parseTxid", () => {
  test("inverts formatTxid, in upper and lower case", () => {
    for (const value of [1, 0xdeadbeef, 2 ** 32, 2 ** 52 + 1, TXID_MAX]) {
      expect(parseTxid(formatTxid(txid(value)))).toBe(txid(value));
      expect(parseTxid(formatTxid(txid(value)).toUpperCase())).toBe(txid(value));
    }
    expect(ltxFileName(txid(1), txid(255))).toBe("0000000000000001-00000000000000ff.ltx");
  });

  test("rejects other lengths, other digits, 0, and values above 2^53 - 1", () => {
    for (const text of [
      "",
      "1",
      "00000000000000001",
      "000000000000000g",
      "0000000000000000",
      "0020000000000000",
    ]) {
      expectRefusal(() => parseTxid(text), "usage", "expected 16 hexadecimal digits");
    }
  });
});
