/**
 * Captures up to now under a freeze, so that an image of the whole database can be read at that TXID while
 * captures continue beside the reading.
 */
import type { Env } from "../../env.ts";
import { WalrustError } from "../../errors.ts";
import type { WalIndexHeader } from "../../format/wal-index.ts";
import { capture } from "./capture.ts";
import type { LiveDatabase } from "./live-database.ts";

/** The result of a capture under a freeze. */
export type FrozenCapture =
  /** The image at `index` is the one of the state's TXID. */
  | { readonly kind: "frozen"; readonly index: WalIndexHeader }
  /** The history is broken: an anchor has to come first. */
  | { readonly kind: "re-anchor"; readonly reason: string };

/**
 * Freezes the database file and captures what is committed. Notes in `live.imageTxid` that an image of this
 * TXID is read; the job that reads the image clears it.
 * @throws WalrustError code "database-busy", retryable, when that is not possible now
 */
export function captureFrozen(live: LiveDatabase, env: Env): FrozenCapture {
  if (!live.pin.freeze()) throw busyError(live, "a checkpoint is running");
  const outcome = capture(live, env);
  if (outcome.kind === "re-anchor") return outcome;
  if (outcome.index === null) throw busyError(live, "the wal-index is being changed");
  live.imageTxid = live.state?.txid ?? null;
  return { kind: "frozen", index: outcome.index };
}

/** The error of a database that cannot be read at this moment. */
export function busyError({ path }: LiveDatabase, reason: string): WalrustError {
  return new WalrustError("database-busy", `Cannot read ${path} yet: ${reason}`, { retryable: true });
}
