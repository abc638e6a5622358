/**
 * Restores `app` from a destination to a small disk, which fills up after the first bytes, and once more with
 * room. Arguments: the URL of the destination, the folder of the disk. Prints the outcome as JSON.
 */
import { readdirSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { WalrustError } from "../../../src/errors.ts";
import { openStore } from "../../../src/index.ts";
import { restore } from "../../../src/recovery/restore/restore-database.ts";

const [, , url = "", folder = ""] = process.argv;
const env = systemEnv(SILENT_LOG);
const store = openStore({ url }, env, {});
const ballast = join(folder, "ballast");
const outputPath = join(folder, "app.db");
const request = { name: "app", outputPath, point: { kind: "latest" }, force: false, dryRun: false } as const;

let isFilled = false;
const onProgress = (): void => {
  if (isFilled) return;
  isFilled = true;
  const { bavail, bsize } = statfsSync(folder);
  writeFileSync(ballast, new Uint8Array(bavail * bsize));
};
const error = await restore(request, { store, env, onProgress }).catch((failure) => failure);
const left = readdirSync(folder);
rmSync(ballast, { force: true });
const { txid } = await restore(request, { store, env });
const { exitCode, hint } = error instanceof WalrustError ? error : { exitCode: -1, hint: String(error) };
console.log(JSON.stringify({ exitCode, hint, left, restoredTxid: txid }));
