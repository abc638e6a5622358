/**
 * `walrust snapshot`: one snapshot now, consistent while the application writes.
 */
import { STORE_OPTIONS } from "../config/options.ts";
import type { AttachTarget } from "../replication/attach.ts";
import { askWatchOrNull } from "../replication/control.ts";
import { type SnapshotResult, snapshotOnce } from "../replication/snapshot.ts";
import { Slots } from "../storage/slots.ts";
import { nameDatabases } from "./database-names.ts";
import { withDestination } from "./destination.ts";
import { formatBytes, printJson, printLine } from "./output.ts";
import type { Verb } from "./verb.ts";

/** The verb `snapshot`. */
export const snapshotVerb: Verb = {
  name: "snapshot",
  summary: "Take a snapshot of a database now and upload it",
  usage: "DATABASE -b URL",
  options: [STORE_OPTIONS],
  positionals: { name: "DATABASE", min: 1, max: 1 },
  examples: [
    ["walrust snapshot app.db -b file:///backup", "to a folder"],
    ["walrust snapshot app.db -b s3://my-bucket/vm1 --json", "to S3, with the result as JSON"],
  ],
  exitCodes: [
    [0, "the snapshot is in the bucket"],
    [2, "usage"],
    [3, "the database cannot be read: missing, not SQLite, not in WAL mode, locked by another process"],
    [4, "storage"],
  ],
  run: async (invocation) =>
    withDestination(invocation, async (store) => {
      const { env, version, signal, isJson, words } = invocation;
      const startedMs = env.monotonicMs();
      const [target] = nameDatabases(words.positionals, store.url) as [AttachTarget];
      const asked = await askWatchOrNull(target.paths.folder, {
        verb: "snapshot",
        path: target.path,
        destination: store.url,
      });
      const context = { store, env, version, uploads: new Slots(1), anchors: new Slots(1) };
      const result = (asked as SnapshotResult | null) ?? (await snapshotOnce(target, context, signal));
      const durationMs = Math.round(env.monotonicMs() - startedMs);
      const { name, txid, key, time, bytes, databaseBytes } = result;
      if (isJson) {
        printJson({ name, txid, key, time, bytes, database_bytes: databaseBytes, duration_ms: durationMs });
      } else {
        const sizes = `${formatBytes(databaseBytes)} as ${formatBytes(bytes)}`;
        printLine(`${name}: snapshot of TXID ${txid} (${sizes}) in ${store.url} after ${durationMs} ms`);
      }
      return 0;
    }),
};
