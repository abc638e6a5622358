/**
 * JSON within bounds: documents refused before the parser runs, and bodies that are not read past the bound.
 */
import { describe, expect, test } from "bun:test";
import { parseBoundedJson, readBounded } from "../../../src/storage/contract/bounded-json.ts";
import { objectBody } from "../../../src/storage/contract/object-body.ts";

const BOUNDS = { sizeMax: 1000, depthMax: 3, valuesMax: 10 };

function parse(text: string): unknown {
  return parseBoundedJson(new TextEncoder().encode(text), BOUNDS);
}

describe("parseBoundedJson", () => {
  test.each([
    '{"a":[1,{"b":"]]]["}]}',
    '"[[[[{{{{,,,,,,,,,,,,"',
    '"\\"[[[[[\\\\"',
    "[1,2,3,4,5,6,7,8]",
    "null",
    "[[[]]]",
  ])("gives the value of %s", (text) => {
    expect(parse(text)).toEqual(JSON.parse(text));
  });

  test.each([
    ["more nesting", "[[[[1]]]]", "nested deeper, expected at most 3"],
    ["more nesting that never ends", "[".repeat(900), "nested deeper"],
    ["objects in objects", '{"a":{"a":{"a":{}}}}', "nested deeper"],
    ["more values", "[1,2,3,4,5,6,7,8,9,10]", "more values, expected at most 10"],
    ["empty lists", `[${"[],".repeat(20)}1]`, "more values"],
    ["more bytes", `"${"x".repeat(1000)}"`, "1002 bytes, expected at most 1000"],
  ])("refuses %s", (_what, text, reason) => {
    expect(() => parse(text)).toThrow(reason);
  });

  test.each(["", "[", "]", "{]", '"', '"\\', "[1", "\u0000"])("throws a SyntaxError for %j", (text) => {
    expect(() => parse(text)).toThrow(SyntaxError);
  });
});

test("readBounded stops at the bound, whatever size the store announces", async () => {
  let givenBytes = 0;
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (;;) {
      givenBytes += 64;
      yield new Uint8Array(64);
    }
  }
  const head = { key: "k", sizeBytes: 10, modifiedMs: 0, metadata: {} };
  await expect(readBounded(objectBody(head, endless()), 1000)).rejects.toThrow("expected at most 1000");
  expect(givenBytes).toBe(1024);
});
