/**
 * PURE: adds to a sync that was not in time that the store takes no request. A request that hangs fails only
 * after its stall timeout, so until then no failure says so.
 */
import type { SyncedDatabase } from "./sync-request.ts";

/** A shorter silence explains nothing: a request takes its time. */
const SILENCE_MIN_MS = 1_000;

/** The outcome with the silence of the store as its reason. @param silentMs since when nothing was taken */
export function withSilence(result: SyncedDatabase, silentMs: number): SyncedDatabase {
  const { outcome, problem } = result;
  if (outcome !== "behind" || problem === null || silentMs < SILENCE_MIN_MS) return result;
  const silence = `the store has taken no request for ${Math.floor(silentMs / 1000)} s`;
  return {
    ...result,
    problem: {
      code: "storage",
      message: `${problem.message}: ${silence}`,
      hint: "The watch keeps trying, and nothing is lost; check the network, the endpoint and the store",
    },
  };
}
