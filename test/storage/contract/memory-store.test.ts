/** MemoryStore passes the contract and honours its options. */
import { expect, test } from "bun:test";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { storeContract } from "./contract.ts";
import { textBody } from "./store-helpers.ts";

storeContract("MemoryStore", {
  open: () => new MemoryStore(),
  openMissing: () => new MemoryStore({ bucketExists: false }),
});

storeContract("MemoryStore with checksums", {
  open: () => new MemoryStore({ hasChecksums: true }),
  openMissing: () => new MemoryStore({ bucketExists: false }),
  checksums: "yes",
});

test("MemoryStore gives an object the given time, or the time of its clock", async () => {
  const store = new MemoryStore({ layout: "file", url: "file:///m", env: { nowMs: () => 5_000 } });
  await store.put("a", textBody("x"), { modifiedMs: 1_234 });
  await store.put("b", textBody("x"));
  const times = (await Array.fromAsync(store.list(""))).map((info) => info.modifiedMs);
  expect([times, store.layout, store.url]).toEqual([[1_234, 5_000], "file", "file:///m"]);
});

test("MemoryStore copies the bytes: later changes of the caller's array have no effect", async () => {
  const store = new MemoryStore();
  const bytes = new Uint8Array([1, 2, 3]);
  await store.put("a", { kind: "bytes", bytes });
  bytes[0] = 9;
  const body = await store.get("a");
  (await body.bytes())[1] = 9;
  expect(await (await store.get("a")).bytes()).toEqual(new Uint8Array([1, 2, 3]));
});
