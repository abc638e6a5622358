/** GuardedStore passes the contract. */
import { SILENT_LOG, systemEnv } from "../../src/env.ts";
import { CircuitBreaker, DEFAULT_BREAKER } from "../../src/storage/circuit-breaker.ts";
import { GuardedStore } from "../../src/storage/guarded-store.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { DEFAULT_RETRY } from "../../src/storage/retry.ts";
import { RetryingStore } from "../../src/storage/retrying-store.ts";
import type { ObjectStore } from "../../src/storage/store.ts";
import { storeContract } from "./contract.ts";

function guarded(inner: ObjectStore): GuardedStore {
  const env = systemEnv(SILENT_LOG);
  return new GuardedStore(
    new RetryingStore(inner, env, DEFAULT_RETRY),
    new CircuitBreaker(DEFAULT_BREAKER, env, () => {}),
  );
}

storeContract("GuardedStore", {
  open: () => guarded(new MemoryStore()),
  openMissing: () => guarded(new MemoryStore({ bucketExists: false })),
});
