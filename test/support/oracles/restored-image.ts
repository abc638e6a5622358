/** The bytes that walrust restores from a store, with all checks of a restore. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Txid } from "../../../src/format/types.ts";
import { restore } from "../../../src/recovery/restore/restore-database.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { recordingEnv } from "../recording-log.ts";
import { tempFolder } from "../temp.ts";

/** Restores a database at a TXID or at the newest one. @throws WalrustError as restore does */
export async function restoredImage(
  store: ObjectStore,
  name: string,
  txid: number | null = null,
): Promise<Buffer> {
  const outputPath = join(tempFolder("restored"), "out.db");
  const point =
    txid === null ? ({ kind: "latest" } as const) : ({ kind: "txid", txid: txid as Txid } as const);
  const { env } = recordingEnv();
  await restore({ name, outputPath, point, force: false, dryRun: false }, { store, env });
  return readFileSync(outputPath);
}
