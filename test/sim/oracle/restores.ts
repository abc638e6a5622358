/**
 * Restores from the bucket of a run with the real `restore`, and compares each file with the image that the
 * bucket had at that TXID.
 */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import type { Txid } from "../../../src/format/types.ts";
import type { PointInTime } from "../../../src/recovery/plan/restore-point.ts";
import { restore } from "../../../src/recovery/restore/restore-database.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import type { Bucket } from "../world/bucket.ts";
import type { Chance } from "../world/chance.ts";
import type { Histories } from "./history.ts";
import { digestOf, imageOfBytes } from "./image.ts";

/** Points beside the newest one that a run restores of each database. */
const MORE_POINTS = 2;

/** The result of the restores of a run. */
export interface RestoreOutcome {
  readonly count: number;
  readonly violation: string | null;
}

/** Restores the newest point and some others of each database. */
export async function checkRestores(
  names: readonly string[],
  histories: Histories,
  bucket: Bucket,
  chance: Chance,
  folder: string,
): Promise<RestoreOutcome> {
  const store = await copyOf(bucket);
  let count = 0;
  for (const name of names) {
    const history = histories.of(name);
    const newest = history.head?.txid ?? 0;
    const others = history.reachable().filter((txid) => txid !== newest);
    const txids = Array.from({ length: Math.min(MORE_POINTS, others.length) }, () => chance.of(others));
    for (const txid of [null, ...txids]) {
      const expected = history.digestAt(txid ?? newest);
      const outputPath = join(folder, `${name}-${txid ?? "latest"}.db`);
      const point: PointInTime = txid === null ? { kind: "latest" } : { kind: "txid", txid: txid as Txid };
      try {
        const request = { name, outputPath, point, force: true, dryRun: false };
        await restore(request, { store, env: systemEnv(SILENT_LOG) });
        const restored = digestOf(imageOfBytes(readFileSync(outputPath)));
        if (restored !== expected) {
          const violation = `${name} restored at TXID ${txid ?? newest} is ${restored}, not ${expected}`;
          return { count, violation };
        }
      } catch (error) {
        return { count, violation: `${name} cannot be restored at TXID ${txid ?? newest}: ${String(error)}` };
      }
      rmSync(outputPath, { force: true });
      count++;
    }
  }
  return { count, violation: null };
}

async function copyOf(bucket: Bucket): Promise<MemoryStore> {
  const store = new MemoryStore({ url: "s3://simulated" });
  for (const [key, { bytes, metadata, modifiedMs }] of bucket.objects) {
    await store.put(key, { kind: "bytes", bytes }, { metadata, modifiedMs });
  }
  return store;
}
