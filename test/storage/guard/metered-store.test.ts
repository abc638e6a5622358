/** A metered store passes the contract of its store, and counts the bytes of reads and puts. */
import { expect, test } from "bun:test";
import { meteredStore } from "../../../src/storage/guard/metered-store.ts";
import { FaultyStore, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { storeContract } from "../contract/contract.ts";
import { textBody } from "../contract/store-helpers.ts";

storeContract("meteredStore", {
  open: () => meteredStore(new MemoryStore(), {}),
  openMissing: () => meteredStore(new MemoryStore({ bucketExists: false }), {}),
});

test("meteredStore counts the bytes that were read and sent, and none of a put that fails", async () => {
  const faulty = new FaultyStore(new MemoryStore());
  const counted = { read: 0, sent: 0 };
  const store = meteredStore(faulty, {
    onRead: (byteCount) => {
      counted.read += byteCount;
    },
    onSent: (byteCount) => {
      counted.sent += byteCount;
    },
  });
  await store.put("a", textBody("hello"));
  await (await store.get("a")).bytes();
  await (await store.get("a", { range: { offset: 1, length: 2 } })).bytes();
  expect(counted).toEqual({ read: 7, sent: 5 });
  faulty.before = () => {
    throw unreachable();
  };
  await expect(store.put("b", textBody("hello"))).rejects.toThrow();
  expect(counted.sent).toBe(5);
});

test("meteredStore has the optional parts of its store, and no others", async () => {
  const leftover = { key: "x", kind: "temporary", changedMs: 0 } as const;
  const inner = Object.assign(new MemoryStore(), { leftovers: async () => [leftover] });
  const store = meteredStore(inner, {});
  expect(await store.leftovers?.("")).toEqual([leftover]);
  expect([store.removeLeftovers, store.unfinishedUploads, store.abortUploads]).toEqual([
    undefined,
    undefined,
    undefined,
  ]);
});
