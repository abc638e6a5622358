/**
 * Gets an object that a listing names. An answer of another length than the listing says is no proof of
 * damage: a proxy may have cut it short, or answered in place of the store. So the head of the object is
 * requested too. Only if the head agrees with the answer did the object change; the judge then finds that.
 */
import { WalrustError } from "../../errors.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import type { ObjectBody, ObjectStore } from "../../storage/contract/store.ts";

/** How often an object is requested when answers have the wrong length. */
const TRIES = 3;

/**
 * Gets the body of an object with the length that the listing says, or that the object has by now.
 * @throws WalrustError "storage" when the head contradicts the length of every answer; others as `get` and
 * `head`
 */
export async function getListed(
  store: ObjectStore,
  { key, sizeBytes }: Pick<LtxObject, "key" | "sizeBytes">,
  signal: AbortSignal | undefined,
): Promise<ObjectBody> {
  const options = signal === undefined ? {} : { signal };
  for (let tries = 1; ; tries++) {
    const body = await store.get(key, options);
    if (body.sizeBytes === sizeBytes) return body;
    const answeredBytes = body.sizeBytes;
    await drop(body);
    const head = await store.head(key, options);
    if (head.sizeBytes === answeredBytes) return await store.get(key, options);
    if (tries < TRIES) continue;
    const found = `the answer has ${answeredBytes} bytes, its head and the listing say ${sizeBytes}`;
    throw new WalrustError("storage", `Cannot read ${key} in ${store.url}: ${found}`, {
      hint: "Something between this machine and the store cuts answers short: check the network and proxies",
    });
  }
}

/** Reads a body to its end, which frees its connection. */
async function drop(body: ObjectBody): Promise<void> {
  for await (const _ of body.chunks) return;
}
