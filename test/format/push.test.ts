/** The protocol of push replicas: paths of names and objects, and the documents of positions. */
import { describe, expect, test } from "bun:test";
import {
  encodePushReply,
  objectPath,
  type PushReply,
  parsePushPath,
  parsePushReplyOrNull,
  positionPath,
} from "../../src/format/push.ts";
import type { Txid } from "../../src/format/types.ts";

const OBJECT = { level: 0, minTxid: 2 as Txid, maxTxid: 0x1f as Txid };

describe("parsePushPath", () => {
  for (const name of ["app", "tenants/romneys/app", "a b%/ü#?", "0000", "x/0009/y"]) {
    test(`reads the paths of ${name}`, () => {
      expect(parsePushPath(positionPath(name))).toEqual({ kind: "position", name });
      expect(parsePushPath(objectPath(name, OBJECT))).toEqual({ kind: "object", name, object: OBJECT });
    });
  }

  test("names an object as its key in an S3 bucket", () => {
    expect(objectPath("app", OBJECT)).toBe("/v1/app/0000/0000000000000002-000000000000001f.ltx");
  });

  for (const path of [
    "/",
    "/v1",
    "/v1/",
    "/v2/app",
    "/v1//app",
    "/v1/app/",
    "/v1/a%2Fb",
    "/v1/%zz",
    "/v1/%ff",
  ])
    test(`refuses ${path}`, () => expect(parsePushPath(path)).toBeNull());

  test("leaves the judgement of a name to the caller", () => {
    expect(parsePushPath("/v1/%2e%2e/app")).toEqual({ kind: "position", name: "../app" });
  });
});

const REPLY: PushReply = {
  position: {
    ...{ name: "app", txid: 7, time: "2026-01-01T00:00:00.000Z", checksum: "8".repeat(16) },
    ...{ chain: "a".repeat(64), state: "waiting", reason: "readers", hasBucket: true },
  },
  refused: "busy",
  message: "a newer state waits",
};

describe("parsePushReplyOrNull", () => {
  test("reads what encodePushReply writes", () => {
    expect(parsePushReplyOrNull(encodePushReply(REPLY))).toEqual(REPLY);
    const applied = { ...REPLY, refused: null, message: null };
    expect(parsePushReplyOrNull(encodePushReply(applied))).toEqual(applied);
    expect(encodePushReply(applied)).not.toContain("refused");
  });

  for (const text of ["", "null", "[]", "1", "{", '{"txid":1}', '{"name":"a","txid":-1,"state":"ready"}'])
    test(`refuses ${JSON.stringify(text)}`, () => expect(parsePushReplyOrNull(text)).toBeNull());

  test("refuses a state that it does not know", () => {
    expect(parsePushReplyOrNull('{"name":"a","txid":1,"state":"odd"}')).toBeNull();
  });
});
