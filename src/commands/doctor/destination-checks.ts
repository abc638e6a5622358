/**
 * Checks a destination with two small probe objects, each with a key of its own, which are deleted in any
 * case: create-only and multipart writes, put, read of a range, listing, deletion, latency, and the clock of
 * the store. A doctor that is killed in between leaves one of them; the next one names it.
 *
 * A folder that does not exist yet is not created.
 */
import { accessSync, constants, existsSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import type { Env } from "../../env.ts";
import { asWalrustError, errorMessage, hasCode, systemCode, WalrustError } from "../../errors.ts";
import { PROBE_BODY, PROBE_PREFIX, probeKey } from "../../storage/contract/create-only-check.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { guaranteeText, type ProbedDestination, probeDestination } from "../shared/probed-destination.ts";
import { Checks } from "./check.ts";

/** A store that takes longer for one small object is worth a word. */
const SLOW_MS = 1_000;
/** Clocks that differ by more give restorable points that a person does not find. */
const SKEW_MS = 5_000;
/** The resolution of times in HTTP. */
const TICK_MS = 1_000;
/** A younger probe object may belong to a doctor or a watch that runs at this moment. */
const STALE_MS = 3_600_000;
const STALE_MAX = 1_000;
const RANGE = { offset: 8, length: 5 } as const;

/**
 * Checks a destination. Never throws, except for what is no failure of it.
 * @param isExpected whether a database was replicated there before, so that a missing folder is a failure
 */
export async function checkDestination(
  store: ObjectStore,
  env: Env,
  signal: AbortSignal,
  isExpected = false,
): Promise<Checks> {
  const checks = new Checks("destination", store.url);
  if (store.layout === "file" && !isExpected && !isFolderThere(store, checks)) return checks;
  const probed = await probeDestination(store, env, isExpected);
  if (probed.problem !== null) {
    checks.failure("reach", probed.problem);
    return checks;
  }
  checks.ok("reach", "it answers");
  judgeWrites(probed, store, checks);
  signal.throwIfAborted();
  await checkObject(store, env, checks, signal);
  await checkStale(store, env, checks, signal);
  return checks;
}

/** Whether a folder exists. If it does not, checks only whether the first upload can create it. */
function isFolderThere({ url }: ObjectStore, checks: Checks): boolean {
  const folder = fileURLToPath(url);
  try {
    const stats = statSync(folder, { throwIfNoEntry: false });
    if (stats?.isDirectory() === true) return true;
    if (stats !== undefined) throw new WalrustError("storage", `${folder} is no folder`);
    let parent = dirname(folder);
    while (!existsSync(parent)) parent = dirname(parent);
    accessSync(parent, constants.W_OK | constants.X_OK);
    const hint = "Check that the disk is mounted, if the folder should be there";
    checks.warning("reach", "the folder does not exist yet: the first upload creates it", hint);
  } catch (error) {
    const reason = systemCode(error) ?? errorMessage(error);
    const message = `the folder does not exist, and cannot be created: ${reason}`;
    const hint = "Create the folder for this user, or mount the disk";
    checks.failure("reach", new WalrustError("storage", message, { hint }));
  }
  return false;
}

function judgeWrites(probed: ProbedDestination, { layout }: ObjectStore, checks: Checks): void {
  const isWeak = probed.conditionalPut !== "yes";
  const text = `create-only writes are ${guaranteeText(probed)}`;
  const hint = "Let only one machine write below this prefix; another store or a newer gateway enforces it";
  if (isWeak || probed.conditionalComplete === "no") checks.warning("create-only", text, hint);
  else checks.ok("create-only", text);
  if (layout === "file") return;
  if (probed.conditionalComplete === "unknown") {
    const message = "uploads in parts are refused: objects above 64 MB cannot be stored";
    checks.warning(
      "multipart",
      message,
      "Allow s3:PutObject and s3:AbortMultipartUpload, or use another store",
    );
  } else if (!isWeak) checks.ok("multipart", "uploads in parts work");
}

/** Puts one object, reads a part of it, finds it in a listing, and deletes it. */
async function checkObject(store: ObjectStore, env: Env, checks: Checks, signal: AbortSignal): Promise<void> {
  const key = probeKey(env);
  const step = async (check: string, work: () => Promise<void>): Promise<boolean> => {
    try {
      await work();
      return true;
    } catch (error) {
      if (signal.aborted) throw error;
      checks.failure(check, asWalrustError(error));
      return false;
    }
  };
  let isDeleted = false;
  try {
    const isPut = await step("put", () => putProbe(store, key, env, checks, signal));
    if (!isPut) return;
    await step("range", () => readRange(store, key, env, checks, signal));
    await step("list", () => listKey(store, key, checks, signal));
    isDeleted = await step("delete", () => deleteKey(store, key, checks, signal));
  } finally {
    // A put that failed, or that was broken off, may have taken effect.
    if (!isDeleted) await store.delete([key]).catch(() => []);
  }
}

async function putProbe(
  store: ObjectStore,
  key: string,
  env: Env,
  checks: Checks,
  signal: AbortSignal,
): Promise<void> {
  const [startMs, beforeMs] = [env.monotonicMs(), env.nowMs()];
  await store.put(key, PROBE_BODY, { createOnly: true, signal });
  const durationMs = env.monotonicMs() - startMs;
  const afterMs = env.nowMs();
  latency("put", "an object is stored", durationMs, checks);
  const { modifiedMs } = await store.head(key, { signal });
  judgeClock(skewOf(modifiedMs, beforeMs, afterMs), checks);
}

function latency(check: string, what: string, durationMs: number, checks: Checks): void {
  const text = `${what} within ${Math.round(durationMs)} ms`;
  if (durationMs <= SLOW_MS) return checks.ok(check, text);
  checks.warning(check, text, "Check the line to the store, and whether its region is near");
}

/** PURE: how far the clock of the store is ahead of ours, as far as a time of the object can show. */
export function skewOf(modifiedMs: number, beforeMs: number, afterMs: number): number {
  if (modifiedMs > afterMs + TICK_MS) return modifiedMs - afterMs;
  return modifiedMs < beforeMs - TICK_MS ? modifiedMs - beforeMs : 0;
}

function judgeClock(skewMs: number, checks: Checks): void {
  if (Math.abs(skewMs) < SKEW_MS)
    return checks.ok("clock", "the clocks of the store and of this machine agree");
  const seconds = Math.round(Math.abs(skewMs) / 1000);
  const side = skewMs > 0 ? "behind" : "ahead of";
  const message = `the clock of this machine is ${seconds} s ${side} the store's`;
  checks.warning("clock", message, "Let NTP set the clock: restorable points have the time of this machine");
}

async function readRange(
  store: ObjectStore,
  key: string,
  env: Env,
  checks: Checks,
  signal: AbortSignal,
): Promise<void> {
  const startMs = env.monotonicMs();
  const body = await store.get(key, { range: RANGE, signal });
  const bytes = await body.bytes();
  const expected = PROBE_BODY.bytes.subarray(RANGE.offset, RANGE.offset + RANGE.length);
  if (!Bun.deepEquals(bytes, expected)) {
    throw new WalrustError("storage", "A part of an object is read with other bytes than were stored");
  }
  latency("range", "a part of it is read", env.monotonicMs() - startMs, checks);
}

async function listKey(store: ObjectStore, key: string, checks: Checks, signal: AbortSignal): Promise<void> {
  for await (const info of store.list(key, { signal })) {
    if (info.key === key) return checks.ok("list", "it is listed");
  }
  throw new WalrustError("storage", "A listing leaves out an object that was just stored", {
    hint: "walrust needs listings that are complete at once, as S3 gives them",
  });
}

async function deleteKey(
  store: ObjectStore,
  key: string,
  checks: Checks,
  signal: AbortSignal,
): Promise<void> {
  const [kept] = await store.delete([key], { signal });
  if (kept !== undefined) {
    const message = `the store refuses to delete: ${kept.reason}; ${key} stays there`;
    return checks.warning(
      "delete",
      message,
      "Allow s3:DeleteObject, or expired objects are kept and paid for",
    );
  }
  try {
    await store.head(key, { signal });
  } catch (error) {
    if (hasCode(error, "not-found")) return checks.ok("delete", "it is deleted again");
    throw error;
  }
  throw new WalrustError("storage", `An object is still there after its deletion: ${key}`);
}

/** Names the objects of probes that were killed. */
async function checkStale(store: ObjectStore, env: Env, checks: Checks, signal: AbortSignal): Promise<void> {
  const stale: string[] = [];
  try {
    for await (const { key, modifiedMs } of store.list(PROBE_PREFIX, { signal, limit: STALE_MAX })) {
      if (env.nowMs() - modifiedMs > STALE_MS) stale.push(key);
    }
  } catch (error) {
    if (signal.aborted) throw error;
    return checks.failure("list", asWalrustError(error));
  }
  if (stale.length === 0) return;
  const message = `${stale.length} probe objects are left of commands that were killed: ${stale[0]}`;
  checks.warning(
    "leftovers",
    message,
    `Delete the objects that begin with ${PROBE_PREFIX}; nothing needs them`,
  );
}
