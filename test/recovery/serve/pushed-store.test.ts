/** The store of one pushed object: it answers for this object alone, and never changes it. */
import { expect, test } from "bun:test";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { PushedStore } from "../../../src/recovery/serve/pushed-store.ts";
import { ReceivedBody } from "../../../src/recovery/serve/received-body.ts";
import { failureOf } from "../../support/failure-of.ts";

const KEY = "tenants/app/0009/0000000000000001-0000000000000007.ltx";

function storeOf(text: string): PushedStore {
  const body = new ReceivedBody(text.length, "/nonexistent");
  body.write(Buffer.from(text));
  return new PushedStore(KEY, { sha256: "abc" }, body, systemEnv(SILENT_LOG));
}

test("PushedStore lists and reads its object", async () => {
  const store = storeOf("0123456789");
  const listed = await Array.fromAsync(store.list("tenants/app/0009/"));
  expect(listed).toMatchObject([{ key: KEY, sizeBytes: 10 }]);
  expect(await Array.fromAsync(store.list("tenants/app/0000/"))).toEqual([]);
  expect(await store.listFolders("tenants/app/")).toEqual(["0009"]);
  expect(await store.listFolders("other/")).toEqual([]);
  const whole = await store.get(KEY);
  expect([whole.metadata, Buffer.from(await whole.bytes()).toString()]).toEqual([
    { sha256: "abc" },
    "0123456789",
  ]);
  const part = await store.get(KEY, { range: { offset: 8, length: 5 } });
  expect([part.sizeBytes, Buffer.from(await part.bytes()).toString()]).toEqual([10, "89"]);
});

test("PushedStore has no other object and takes none", async () => {
  const store = storeOf("x");
  expect((await failureOf(store.get("tenants/app/manifest.json"))).code).toBe("not-found");
  for (const change of [() => store.put(), () => store.delete(), () => store.probe()])
    expect(change).toThrow("only read");
});
