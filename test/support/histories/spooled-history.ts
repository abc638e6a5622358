/**
 * A live database whose captures wait in its spool, without a watch: the input of merges and of the spool's
 * limit. The captures come from a tiny history; no process holds a pin on the database.
 */
import { join } from "node:path";
import type { Pin } from "../../../src/database/pin/pin.ts";
import { hex } from "../../../src/format/chain.ts";
import { writeState } from "../../../src/local/state.ts";
import { createStateFolder, stateFolderOf } from "../../../src/local/state-folder.ts";
import type { LiveDatabase } from "../../../src/replication/capture/live-database.ts";
import { databaseChecksum } from "../oracles/page-sums-oracle.ts";
import { seededRandom } from "../seeded-random.ts";
import { tempFolder } from "../temp.ts";
import { spoolTiny, TINY_WRITER, TinyHistory } from "./tiny-history.ts";

/** Makes TXIDs 1 to `count` pending. @param snapshotsAt TXIDs with a pending snapshot too */
export function spooledHistory(
  count: number,
  snapshotsAt: readonly number[] = [],
): { live: LiveDatabase; history: TinyHistory } {
  const path = join(tempFolder("spooled"), "app.db");
  const paths = stateFolderOf(path);
  createStateFolder(paths);
  const history = new TinyHistory(seededRandom(count));
  const live: LiveDatabase = {
    path,
    name: "app",
    paths,
    // Nothing in these tests requests a lock.
    pin: {} as Pin,
    state: null,
    pending: [],
    acknowledged: null,
    uploadedBytes: 0,
    sentBytes: 0,
    mayRestart: false,
    changeCount: null,
    pinLost: null,
  };
  for (let txid = 1; txid <= count; txid++) {
    live.pending.push(spoolTiny(paths.spoolFolder, history.commit(1_000_000 + txid)));
    if (snapshotsAt.includes(txid)) live.pending.push(spoolTiny(paths.spoolFolder, history.snapshot()));
  }
  live.state = stateAt(history, count);
  writeState(paths, live.state);
  return { live, history };
}

/** Captures one more commit. */
export function captureNext(live: LiveDatabase, history: TinyHistory): void {
  live.pending.push(spoolTiny(live.paths.spoolFolder, history.commit(1_000_001 + history.txid)));
  live.state = stateAt(history, history.txid);
  writeState(live.paths, live.state);
}

function stateAt(history: TinyHistory, txid: number): NonNullable<LiveDatabase["state"]> {
  const image = history.images.get(txid)!;
  return {
    destination: "s3://memory",
    name: "app",
    writer: TINY_WRITER,
    txid: txid as NonNullable<LiveDatabase["state"]>["txid"],
    timeMs: 1_000_000 + txid,
    pageSizeBytes: 512,
    commit: image.length / 512,
    checksum: databaseChecksum(image, 512) as NonNullable<LiveDatabase["state"]>["checksum"],
    chain: hex(history.chains.get(txid)!),
    wal: null,
    snapshot: { txid: 1 as NonNullable<LiveDatabase["state"]>["txid"], timeMs: 1_000_001 },
  };
}
