/** Helpers of the store tests: bodies, listings and expectations. */
import { expect } from "bun:test";
import { type Env, type Log, systemEnv } from "../../../src/env.ts";
import type { ObjectBody, ObjectInfo, ObjectStore, PutBody } from "../../../src/storage/contract/store.ts";

/** A body of bytes. */
export function textBody(content: string): PutBody {
  return { kind: "bytes", bytes: new TextEncoder().encode(content) };
}

/** The content of an object as text. */
export async function text(body: ObjectBody): Promise<string> {
  return new TextDecoder().decode(await body.bytes());
}

/** The keys of a listing, in its order. */
export async function keysOf(store: ObjectStore, prefix: string, startAfter?: string): Promise<string[]> {
  const infos = await infosOf(store, prefix, startAfter);
  return infos.map((info) => info.key);
}

/** Expects `promise` to reject with a WalrustError of this code. */
export async function expectCode(promise: Promise<unknown>, code: string): Promise<void> {
  const outcome = await promise.then(
    () => "resolved",
    (error) => error?.code ?? error,
  );
  expect(outcome).toBe(code);
}

/** The entries of a listing, in its order. */
export async function infosOf(
  store: ObjectStore,
  prefix: string,
  startAfter?: string,
): Promise<ObjectInfo[]> {
  const options = startAfter === undefined ? {} : { startAfter };
  return await Array.fromAsync(store.list(prefix, options));
}

/** Bytes without a short period, the same in every run. */
export function patternBytes(sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  let state = 0x9e3779b9;
  for (let index = 0; index < sizeBytes; index++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes[index] = state >>> 24;
  }
  return bytes;
}

/** The SHA-256 of an object's content, read in chunks. */
export async function sha256Of(body: ObjectBody): Promise<string> {
  const hasher = new Bun.CryptoHasher("sha256");
  for await (const chunk of body.chunks) hasher.update(chunk);
  return hasher.digest("hex");
}

/** Sorts by UTF-8 bytes through Buffer, independently of the code under test. */
export function sortedByBytes(keys: readonly string[]): string[] {
  return keys.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

/** Applies `run` to all items, `size` at a time. */
export async function inBatches<T>(
  items: readonly T[],
  size: number,
  run: (item: T) => Promise<void>,
): Promise<void> {
  for (let index = 0; index < items.length; index += size) {
    await Promise.all(items.slice(index, index + size).map(run));
  }
}

/**
 * An env on which the waits of retries, at most 30 s each, take no time and are recorded. A request's stall
 * limit has to be 60 s or more.
 */
export function quickEnv(log: Log): { env: Env; sleepsMs: number[] } {
  const system = systemEnv(log);
  const sleepsMs: number[] = [];
  const sleep: Env["sleep"] = async (durationMs, signal) => {
    if (durationMs >= 60_000) return await system.sleep(durationMs, signal);
    sleepsMs.push(durationMs);
  };
  return { env: { ...system, sleep, random: () => 0.5 }, sleepsMs };
}
