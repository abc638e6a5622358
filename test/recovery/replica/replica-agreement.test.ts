/**
 * A replica says that it is current only if the listing of the source proves it: against a manifest that is
 * behind, a manifest that names deleted objects, and another history with the same TXIDs.
 */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { stripMetadata } from "../../support/histories/changed-object.ts";
import { SourceDatabase, SourceHistory } from "../../support/histories/replica-history.ts";
import { allKeys } from "../../support/oracles/history-oracle.ts";
import { expectContent, replicateOnce } from "../../support/runs/replica-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(30_000);

/** A source of `count` TXIDs, and a replica at the newest of them. */
async function followed(count: number) {
  const folder = tempFolder("current");
  const source = new SourceDatabase(folder);
  const history = new SourceHistory(new MemoryStore());
  await history.publish(source.after("CREATE TABLE item (a)"));
  while (history.txid < count)
    await history.publish(source.after(`INSERT INTO item VALUES (${history.txid})`));
  const local = join(folder, "replica.db");
  await replicateOnce(history.store, local);
  return { source, history, local, store: history.store as MemoryStore };
}

describe("replicate --once", () => {
  test("passes a manifest that is behind merged objects", async () => {
    const { source, history, local, store } = await followed(3);
    await history.writeManifest();
    for (let i = 0; i < 4; i++) await history.publish(source.after("INSERT INTO item VALUES (9)"));
    // The merge's own manifest was not written, and its first sources have expired.
    await history.compact(1, 4, 6);
    await replicateOnce(store, local);
    expectContent(local, history.images.get(7));
  });

  test("fails if the manifest names TXIDs that were deleted", async () => {
    const { source, history, local, store } = await followed(3);
    for (let i = 0; i < 2; i++) await history.publish(source.after("INSERT INTO item VALUES (9)"));
    await history.writeManifest();
    await store.delete((await allKeys(store)).filter((key) => /-000000000000000[45]\.ltx$/.test(key)));
    await expect(replicateOnce(store, local)).rejects.toMatchObject({
      code: "integrity",
      message: expect.stringContaining("The manifest names TXID 5"),
    });
    expectContent(local, history.images.get(3));
  });

  test.each(["with a manifest", "without a manifest", "without metadata"])(
    "follows another history that has the same TXIDs, %s",
    async (kind) => {
      const { source, local, store } = await followed(3);
      await store.delete(await allKeys(store));
      const other = new SourceHistory(store);
      while (other.txid < 3) await other.publish(source.after(`INSERT INTO item VALUES (-${other.txid})`));
      if (kind === "with a manifest") await other.writeManifest();
      if (kind === "without metadata")
        for (const key of await allKeys(store)) await stripMetadata(store, key);
      const events = await replicateOnce(store, local);
      expect(events.map(({ event }) => event)).toEqual(["following", "bootstrapped"]);
      expectContent(local, other.newest);
      expect((await replicateOnce(store, local)).map(({ event }) => event)).toEqual(["following", "current"]);
    },
  );
});
