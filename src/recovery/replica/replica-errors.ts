/**
 * The one failure that a replica answers by itself: what is in the bucket does not continue what is here.
 */
import { WalrustError } from "../../errors.ts";

/** The objects do not continue the replica: it has to be brought to the newest state as a whole. */
export class DivergedError extends WalrustError {
  constructor(message: string) {
    super("integrity", message, { hint: "The replica is brought to the newest state of the source" });
  }
}
