/**
 * The state file and the source of a replica: what is written is read, nothing that was changed is believed.
 */
import { describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Checksum, Txid } from "../../src/format/types.ts";
import { parseReplicaSource } from "../../src/recovery/replica-source.ts";
import { readReplicaState, replicaStatePath, writeReplicaState } from "../../src/recovery/replica-state.ts";
import { tempFolder } from "../support/temp.ts";

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

describe("replica state", () => {
  test("is read as it was written", () => {
    const local = join(tempFolder("state"), "replica.db");
    expect(replicaStatePath(local)).toEndWith("/replica.db-replica-state");
    expect(readReplicaState(local)).toEqual({ kind: "none" });
    for (const state of [STATE, { ...STATE, current: null }, { ...STATE, next: null }]) {
      writeReplicaState(local, state);
      expect(readReplicaState(local)).toEqual({ kind: "state", state });
    }
  });

  test("is lost when any byte of it is changed or cut off", () => {
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
});

describe("parseReplicaSource", () => {
  const rows = [
    ["s3://bucket/vm/one/app", "s3://bucket/vm/one", "app", "s3://bucket/vm/one/app"],
    ["s3://bucket/app/", "s3://bucket", "app", "s3://bucket/app"],
    ["s3://bucket", "s3://bucket", "", "s3://bucket"],
    ["file:///backup/vm/app", "file:///backup/vm", "app", "file:///backup/vm/app"],
    ["file:///my%20disk/the%20app", "file:///my%20disk", "the app", "file:///my%20disk/the%20app"],
    ["file:///app", "file:///app", "", "file:///app"],
  ] as const;
  for (const [text, destination, name, url] of rows) {
    test(text, () => expect(parseReplicaSource(text)).toEqual({ destination, name, url }));
  }

  test("refuses what is no destination", () => {
    expect(() => parseReplicaSource("/backup/app")).toThrow("no scheme");
  });
});
