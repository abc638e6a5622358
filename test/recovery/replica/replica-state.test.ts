/** The state file and the source of a replica: reading inverts writing, and rejects every change. */
import { describe, expect, test } from "bun:test";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Checksum, Txid } from "../../../src/format/types.ts";
import { parseReplicaSource, replicaSourceOf } from "../../../src/recovery/replica/replica-source.ts";
import {
  advanceReplicaState,
  readReplicaState,
  replicaStatePath,
  writeReplicaState,
} from "../../../src/recovery/replica/replica-state.ts";
import { tempFolder } from "../../support/temp.ts";

const POINT = {
  txid: 7 as Txid,
  timeMs: Date.UTC(2026, 2, 1),
  checksum: 0x8000_0000_0000_0abcn as Checksum,
  chain: "ab".repeat(32),
  pageSizeBytes: 4096,
  pageCount: 12,
};
const STATE = {
  source: "s3://bucket/vm/app",
  current: POINT,
  next: { ...POINT, txid: 8 as Txid, chain: null },
};
/** STATE in format 1. */
const OLD_STATE = `{
  "format": 1,
  "source": "s3://bucket/vm/app",
  "current": {
    "txid": 7,
    "time": "2026-03-01T00:00:00.000Z",
    "checksum": "8000000000000abc",
    "chain": "abababababababababababababababababababababababababababababababab",
    "page_size": 4096,
    "page_count": 12
  },
  "next": {
    "txid": 8,
    "time": "2026-03-01T00:00:00.000Z",
    "checksum": "8000000000000abc",
    "chain": null,
    "page_size": 4096,
    "page_count": 12
  },
  "sha256": "2a7a605ccfac0d8bf634e8bdd15307eac46afe1649b5505a777175831082716b"
}
`;

describe("replica state", () => {
  test("is read as written", () => {
    const local = join(tempFolder("state"), "replica.db");
    expect(replicaStatePath(local)).toEndWith("/replica.db-replica-state");
    expect(readReplicaState(local)).toEqual({ kind: "none" });
    for (const state of [STATE, { ...STATE, current: null }, { ...STATE, next: null }]) {
      writeReplicaState(local, state);
      expect(readReplicaState(local)).toEqual({ kind: "state", state });
    }
  });

  test("is lost if any byte is changed or cut off", () => {
    const local = join(tempFolder("state"), "replica.db");
    writeReplicaState(local, STATE);
    const path = replicaStatePath(local);
    const bytes = readFileSync(path);
    for (let at = 0; at < bytes.length; at++) {
      if (/\s/.test(String.fromCharCode(bytes[at]!))) continue;
      const changed = Buffer.from(bytes);
      changed[at]! ^= 1;
      writeFileSync(path, changed);
      expect(readReplicaState(local).kind).toBe("lost");
      writeFileSync(path, bytes.subarray(0, at));
      expect(readReplicaState(local).kind).toBe("lost");
    }
  });

  test("advances in place, slot by slot", () => {
    const local = join(tempFolder("state"), "replica.db");
    writeReplicaState(local, STATE);
    const path = replicaStatePath(local);
    const { ino, size } = statSync(path);
    for (let txid = 9; txid < 20; txid++) {
      const state = { ...STATE, current: POINT, next: { ...POINT, txid: txid as Txid } };
      advanceReplicaState(local, state);
      expect(readReplicaState(local)).toEqual({ kind: "state", state });
    }
    expect(statSync(path)).toMatchObject({ ino, size });
  });

  test("a write that is cut off anywhere, and a torn sector, leave the state before", () => {
    const local = join(tempFolder("state"), "replica.db");
    const path = replicaStatePath(local);
    const stateAt = (txid: number) => ({ ...STATE, next: { ...POINT, txid: txid as Txid } });
    writeReplicaState(local, stateAt(8));
    for (const txid of [9, 10]) {
      const before = readFileSync(path);
      advanceReplicaState(local, stateAt(txid));
      const after = readFileSync(path);
      const slotSize = after.length / 2;
      const begin = txid === 9 ? slotSize : 0;
      const expected = [txid - 1, txid].map((one) => ({ kind: "state" as const, state: stateAt(one) }));
      const read = (torn: Uint8Array) => {
        writeFileSync(path, torn);
        return readReplicaState(local) as (typeof expected)[0];
      };
      for (let written = 0; written < slotSize; written++) {
        const torn = Buffer.from(before);
        after.copy(torn, begin, begin, begin + written);
        expect(expected).toContainEqual(read(torn));
      }
      const tornSector = Buffer.from(after);
      tornSector.fill(7, begin, begin + slotSize);
      expect(read(tornSector)).toEqual(expected[0]!);
      writeFileSync(path, after);
    }
  });

  test("a slot that holds null, and another format, leave the state before, or are named", () => {
    const local = join(tempFolder("state"), "replica.db");
    const path = replicaStatePath(local);
    writeReplicaState(local, STATE);
    const bytes = readFileSync(path);
    const withNull = Buffer.from(bytes);
    withNull.write("null", bytes.length / 2);
    writeFileSync(path, withNull);
    expect(readReplicaState(local)).toEqual({ kind: "state", state: STATE });
    writeFileSync(path, "null");
    expect(readReplicaState(local)).toEqual({ kind: "lost", reason: "its checksum is wrong" });
  });

  test("replaces a file that has no room, is missing, or is of format 1", () => {
    const local = join(tempFolder("state"), "replica.db");
    const path = replicaStatePath(local);
    advanceReplicaState(local, STATE);
    expect(readReplicaState(local)).toEqual({ kind: "state", state: STATE });
    const long = { ...STATE, source: `s3://bucket/${"long/".repeat(800)}app` };
    advanceReplicaState(local, long);
    expect(readReplicaState(local)).toEqual({ kind: "state", state: long });

    writeFileSync(path, OLD_STATE);
    expect(readReplicaState(local)).toEqual({ kind: "state", state: STATE });
    advanceReplicaState(local, { ...STATE, current: null });
    expect(readReplicaState(local)).toEqual({ kind: "state", state: { ...STATE, current: null } });
    expect(readFileSync(path, "utf8")).toContain('"format": 2');
  });
});

describe("parseReplicaSource", () => {
  const rows = [
    ["s3://bucket/vm/one/app", "s3://bucket/vm/one", "app", "s3://bucket/vm/one/app"],
    ["s3://bucket/app/", "s3://bucket", "app", "s3://bucket/app"],
    ["s3://bucket", "s3://bucket", "", "s3://bucket"],
    ["file:///backup/vm/app", "file:///backup/vm", "app", "file:///backup/vm/app"],
    ["file:///my%20disk/the%20app", "file:///my%20disk", "the app", "file:///my%20disk/the%20app"],
    ["file:///app", "file:///app", "", "file:///app"],
    [
      "s3://bucket/vm/user%40example.com",
      "s3://bucket/vm",
      "user@example.com",
      "s3://bucket/vm/user@example.com",
    ],
    ["s3://bucket/my%20vm/a%2Bb", "s3://bucket/my vm", "a+b", "s3://bucket/my vm/a+b"],
    ["s3://bucket/vm/c%23/100%25", "s3://bucket", "vm/c#/100%", "s3://bucket/vm/c#/100%"],
    ["file:///b/what%3F", "file:///b", "what?", "file:///b/what%3F"],
  ] as const;
  for (const [text, destination, name, url] of rows) {
    test(text, () => expect(parseReplicaSource(text)).toEqual({ destination, name, url }));
  }

  test("refuses a text that is no destination", () => {
    expect(() => parseReplicaSource("/backup/app")).toThrow("no scheme");
    expect(() => parseReplicaSource("s3://bucket/100%")).toThrow("no escape");
    expect(() => parseReplicaSource("s3://bucket/a/%2E%2E/b")).toThrow("..");
    const refusal = expect.objectContaining({ code: "usage", hint: expect.stringContaining("%40") });
    expect(() => parseReplicaSource("s3://bucket/user@example.com")).toThrow(refusal);
  });
});

describe("replicaSourceOf", () => {
  const names = [
    "app",
    "user@example.com",
    "c#",
    "what?",
    "a+b",
    "100%",
    "%zz",
    "a b/0001",
    "x:y",
    "naïve",
    "=2",
  ];
  for (const name of names) {
    test(`takes ${name} unchanged, and recognizes it by its URL`, () => {
      const inBucket = replicaSourceOf("s3://bucket/vm/", name);
      expect(inBucket).toEqual({ destination: "s3://bucket/vm/", name, url: `s3://bucket/vm/${name}` });
      const escaped = name.split("/").map(encodeURIComponent).join("/");
      expect(parseReplicaSource(`s3://bucket/vm/${escaped}`).url).toBe(inBucket.url);
      const inFolder = replicaSourceOf("file:///my%20disk/", name);
      expect(parseReplicaSource(`file:///my%20disk/${escaped}`).url).toBe(inFolder.url);
    });
  }

  test("refuses a text that is neither a name nor a destination", () => {
    expect(() => replicaSourceOf("s3://bucket", "../app")).toThrow("..");
    expect(() => replicaSourceOf("bucket", "app")).toThrow("no scheme");
  });
});
