/** The typed error that a promise is rejected with. */
import { WalrustError } from "../../src/errors.ts";

/** Waits for a failure. @throws when there is none, or it is no WalrustError */
export async function failureOf(work: Promise<unknown>): Promise<WalrustError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof WalrustError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}
