/** getListed: bodies of another length than their listing, the party at fault, and the retries. */
import { expect, test } from "bun:test";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { getListed } from "../../../src/recovery/object/listed-body.ts";
import { objectBodyOfBytes } from "../../../src/storage/contract/object-body.ts";
import type { ObjectBody, ObjectStore } from "../../../src/storage/contract/store.ts";
import { expectCode, textBody } from "../../storage/contract/store-helpers.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const KEY = "app/0000/0000000000000002-0000000000000002.ltx";
const listed = (sizeBytes: number) => ({ key: KEY, sizeBytes });

/** A store that cuts its next `cutCount` answers to a get short. */
async function cutting(cutCount: number): Promise<{ store: ObjectStore; gets: () => number }> {
  const store = new MemoryStore({ env: systemEnv(SILENT_LOG) });
  await store.put(KEY, textBody("a whole object"));
  let gets = 0;
  const get = async (key: string): Promise<ObjectBody> => {
    const body = await MemoryStore.prototype.get.call(store, key);
    if (++gets > cutCount) return body;
    return objectBodyOfBytes({ ...body, sizeBytes: 5 }, (await body.bytes()).subarray(0, 5));
  };
  return { store: Object.assign(store, { get }), gets: () => gets };
}

test("getListed repeats the request after an answer that is cut short", async () => {
  const { store, gets } = await cutting(2);
  expect((await (await getListed(store, listed(14), undefined)).bytes()).byteLength).toBe(14);
  expect(gets()).toBe(3);
});

test("getListed fails with a storage error, not with damage, if every answer is cut short", async () => {
  const { store, gets } = await cutting(Number.POSITIVE_INFINITY);
  const getting = getListed(store, listed(14), undefined);
  await expect(getting).rejects.toThrow("the answer has 5 bytes, its head and the listing say 14");
  await expectCode(getting, "storage");
  expect(gets()).toBe(3);
});

test("getListed gives an object that has changed since the listing; checks judge it later", async () => {
  const { store } = await cutting(0);
  expect((await (await getListed(store, listed(99), undefined)).bytes()).byteLength).toBe(14);
});
