/** The typed error of a rejected promise. */
import { WalrustError } from "../../src/errors.ts";

/**
 * Waits for the rejection of `work`.
 * @throws Error if `work` succeeds or rejects with anything but a WalrustError
 */
export async function failureOf(work: Promise<unknown>): Promise<WalrustError> {
  try {
    await work;
  } catch (error) {
    if (error instanceof WalrustError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}
