/** A long merge beside writers: the checkpoint before it, and the captures of that checkpoint. */
import { expect, test } from "bun:test";
import type { LiveDatabase } from "../../../src/replication/capture/live-database.ts";
import { mergeBesideWriters } from "../../../src/replication/upload/long-merge.ts";
import { planMerge } from "../../../src/replication/upload/spool-merge.ts";
import { captureNext, spooledHistory } from "../../support/histories/spooled-history.ts";
import { recordingEnv } from "../../support/recording-log.ts";

/** Merges from TXID 3 on. @param outcomes what each attempt of the checkpoint returns */
async function merged(outcomes: readonly boolean[], isAttached = true) {
  const { live, history } = spooledHistory(6);
  const merge = planMerge(live, 2)!;
  const waitsMs: number[] = [];
  let tries = 0;
  const poller = {
    checkpointAhead(of: LiveDatabase): boolean {
      expect(of).toBe(live);
      // A checkpoint captures first.
      if (tries === 0) captureNext(live, history);
      return outcomes[tries++] ?? false;
    },
  };
  const sleep = async (durationMs: number): Promise<void> => void waitsMs.push(durationMs);
  const context = { env: recordingEnv({ sleep }).env, closing: { signal: new AbortController().signal } };
  await mergeBesideWriters({ captured: live, merge }, isAttached ? live : null, poller, context as never);
  const links = live.pending.map(({ minTxid, maxTxid }) => `${minTxid}-${maxTxid}`);
  return { tries, waitsMs, links };
}

test("the WAL is checkpointed first, and what that captures is merged, too", async () => {
  expect(await merged([true])).toEqual({ tries: 1, waitsMs: [], links: ["1-1", "2-2", "3-7"] });
});

test("a checkpoint that is hindered is tried four times, and the merge is made all the same", async () => {
  expect(await merged([false, true])).toMatchObject({ tries: 2, waitsMs: [5] });
  expect(await merged([])).toEqual({ tries: 4, waitsMs: [5, 5, 5, 5], links: ["1-1", "2-2", "3-7"] });
});

test("captured files of a database that is not attached are merged without a checkpoint", async () => {
  expect(await merged([true], false)).toEqual({ tries: 0, waitsMs: [], links: ["1-1", "2-2", "3-6"] });
});
