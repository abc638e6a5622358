/** The checksum of a store takes the place of a download only if all of it fits. */
import { expect, test } from "bun:test";
import { judgeConfirmed, type PutObject } from "../../../src/recovery/object/confirmed-object.ts";
import { listObjects } from "../../../src/storage/bucket/catalog.ts";
import type { ObjectHead } from "../../../src/storage/contract/store.ts";
import { compactionBench } from "../../support/histories/compaction-bench.ts";
import { readObject } from "../../support/oracles/history-oracle.ts";

function digest(algorithm: "md5" | "sha256", bytes: Uint8Array): string {
  return new Bun.CryptoHasher(algorithm).update(bytes).digest("hex");
}

/** An increment as it was put, and the head by which a store confirms it. */
async function subject(): Promise<{ put: PutObject; head: ObjectHead; bytes: Uint8Array }> {
  const { store, keys } = await compactionBench(3);
  const object = (await listObjects(store, "app")).find(({ key }) => key === keys.get(3))!;
  const { bytes, metadata } = await readObject(store, object.key);
  const { key, sizeBytes, modifiedMs } = object;
  const checksum = { algorithm: "md5", hex: digest("md5", bytes) } as const;
  const put = { object, metadata, chunks: [bytes.subarray(0, 50), bytes.subarray(50)] };
  return { put, bytes, head: { key, sizeBytes, modifiedMs, metadata, checksum } };
}

test("judgeConfirmed gives the verdict on the file if the store states its checksum", async () => {
  const { put, head, bytes } = await subject();
  for (const algorithm of ["md5", "sha256"] as const) {
    const verdict = await judgeConfirmed(put, {
      ...head,
      checksum: { algorithm, hex: digest(algorithm, bytes) },
    });
    expect(verdict).toMatchObject({ findings: [], facts: { metadata: { sha256: put.metadata["sha256"]! } } });
  }
});

const OTHER_HEADS: readonly (readonly [what: string, change: (head: ObjectHead) => ObjectHead])[] = [
  ["states no checksum", ({ checksum: _, ...head }) => head],
  ["states another MD5", (head) => ({ ...head, checksum: { algorithm: "md5", hex: "ab".repeat(16) } })],
  [
    "states another SHA-256",
    (head) => ({ ...head, checksum: { algorithm: "sha256", hex: "ab".repeat(32) } }),
  ],
  ["has another size", (head) => ({ ...head, sizeBytes: head.sizeBytes + 1 })],
  ["has lost its metadata", (head) => ({ ...head, metadata: {} })],
  ["has other metadata", (head) => ({ ...head, metadata: { ...head.metadata, chain: "ab".repeat(32) } })],
];

test.each(OTHER_HEADS)("judgeConfirmed confirms nothing if the head %s", async (_, change) => {
  const { put, head } = await subject();
  expect(await judgeConfirmed(put, change(head))).toBeNull();
});

test("judgeConfirmed finds what the judge finds in a file that the store holds as it is", async () => {
  const { put, head, bytes } = await subject();
  bytes[130]! ^= 1;
  const checksum = { algorithm: "md5", hex: digest("md5", bytes) } as const;
  const verdict = await judgeConfirmed({ ...put, chunks: [bytes] }, { ...head, checksum });
  expect(verdict!.findings.length).toBeGreaterThan(0);
});
