/** The meter hands the bytes of one database to those who listen to this database. */
import { expect, test } from "bun:test";
import { WorkMeter } from "../../../src/replication/context/work-meter.ts";
import { textBody } from "../../storage/contract/store-helpers.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

test("WorkMeter counts the objects and images of the listened database alone, until the end", async () => {
  const meter = new WorkMeter();
  const store = meter.metered(new MemoryStore());
  const heard: unknown[] = [];
  const end = meter.listen("a/app", {
    image: (done, total) => heard.push(["image", done, total]),
    sent: (key, bytes) => heard.push(["sent", key, bytes]),
    read: (key, bytes) => heard.push(["read", key, bytes]),
  });
  const work = async (): Promise<void> => {
    for (const key of ["a/app/0000/1.ltx", "a/apple/0000/1.ltx", "b/app/0000/1.ltx"]) {
      await store.put(key, textBody("hello"));
      await (await store.get(key)).bytes();
    }
    for (const name of ["a/app", "a/apple"]) meter.image(name, 1, 2);
  };
  await work();
  expect(heard).toEqual([
    ["sent", "a/app/0000/1.ltx", 5],
    ["read", "a/app/0000/1.ltx", 5],
    ["image", 1, 2],
  ]);
  end();
  await work();
  expect(heard.length).toBe(3);
});

test("WorkMeter leaves the listener of a put its bytes", async () => {
  const store = new WorkMeter().metered(new MemoryStore());
  let sentBytes = 0;
  const onSent = (byteCount: number): void => {
    sentBytes += byteCount;
  };
  await store.put("app/1", textBody("hello"), { onSent });
  expect(sentBytes).toBe(5);
});
