/** The error that a replica answers with a bootstrap: the bucket does not continue the replica. */
import { WalrustError } from "../../errors.ts";

/** The objects do not continue the replica, so it needs the newest state as a whole. */
export class DivergedError extends WalrustError {
  constructor(message: string) {
    super("integrity", message, { hint: "walrust brings the replica to the newest state of the source" });
  }
}
