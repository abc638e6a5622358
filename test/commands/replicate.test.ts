/** The lines of `replicate --json` have the type that the library exports. */
import { expect, test } from "bun:test";
import { replicaDocument } from "../../src/commands/replicate.ts";
import type { ReplicaDocument } from "../../src/commands/shared/documents.ts";
import type { ReplicaEvent } from "../../src/recovery/replica/replica-file.ts";

const TIME = "2026-01-15T00:00:00.000Z";
const timeMs = Date.parse(TIME);
const at = "2026-01-15T00:00:01.000Z";

/** Every kind of event with its line. */
const LINES: { readonly [E in ReplicaEvent["event"]]: readonly [ReplicaEvent, ReplicaDocument] } = {
  following: [
    { event: "following", txid: 2, timeMs, bytes: 3 },
    { event: "following", txid: 2, time: TIME, bytes: 3, at },
  ],
  bootstrapped: [
    { event: "bootstrapped", txid: 2, timeMs, bytes: 3, objects: 4, reason: null },
    { event: "bootstrapped", txid: 2, time: TIME, bytes: 3, objects: 4, reason: null, at },
  ],
  applied: [
    { event: "applied", txid: 2, fromTxid: 1, timeMs, key: "k", bytes: 3 },
    { event: "applied", txid: 2, from_txid: 1, time: TIME, key: "k", bytes: 3, at },
  ],
  waiting: [
    { event: "waiting", txid: 2, reason: "r" },
    { event: "waiting", txid: 2, reason: "r", at },
  ],
  failed: [
    { event: "failed", txid: 2, code: "storage", message: "m" },
    { event: "failed", txid: 2, code: "storage", message: "m", at },
  ],
  current: [
    { event: "current", txid: 2, timeMs },
    { event: "current", txid: 2, time: TIME, at },
  ],
};

test.each(Object.entries(LINES))("replicaDocument prints %s as its type says", (_, [event, line]) => {
  expect(replicaDocument(event, Date.parse(at))).toEqual(line);
});
