/** The comparison of the bucket with a state, where a power cut may have brought back an older slot of it. */
import { expect, test } from "bun:test";
import type { DatabaseState } from "../../../src/local/state.ts";
import type { LiveDatabase } from "../../../src/replication/capture/live-database.ts";
import { contradictionOrNull } from "../../../src/replication/upload/bucket-status.ts";
import { mergePending } from "../../../src/replication/upload/spool-merge.ts";
import { uploadPending } from "../../../src/replication/upload/uploader.ts";
import { Semaphore } from "../../../src/storage/guard/semaphore.ts";
import { captureNext, spooledHistory } from "../../support/histories/spooled-history.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

async function uploadAll(live: LiveDatabase, store: MemoryStore): Promise<void> {
  const { env } = recordingEnv();
  const context = { store, uploads: new Semaphore(1), version: "test", env, emit() {}, keepsSent: false };
  const outcome = await uploadPending(live, context, new AbortController().signal, "links");
  expect(outcome).toEqual({ kind: "drained" });
}

test("contradictionOrNull finds captures that are back after they were merged and sent", async () => {
  const { live } = spooledHistory(5);
  const [pending, state] = [[...live.pending], live.state];
  mergePending(live);
  const store = new MemoryStore();
  await uploadAll(live, store);

  live.pending.push(...pending);
  live.state = state;
  live.revivedTxid = state!.txid;
  expect(await contradictionOrNull(live, store)).toBe("the bucket is ahead of the local state");
});

test("contradictionOrNull after a power cut compares the chain with the bucket's newest object", async () => {
  const { live, history } = spooledHistory(3);
  const store = new MemoryStore();
  await uploadAll(live, store);
  const sound: DatabaseState = live.state!;
  // An older slot of the same TXID: the chain from before a merge.
  const torn: DatabaseState = { ...sound, chain: "ab".repeat(32) };

  live.revivedTxid = sound.txid;
  expect(await contradictionOrNull(live, store)).toBeNull();
  live.state = torn;
  expect(await contradictionOrNull(live, store)).toBe("the bucket holds another history");

  live.state = sound;
  captureNext(live, history);
  expect(await contradictionOrNull(live, store)).toBeNull();
});
