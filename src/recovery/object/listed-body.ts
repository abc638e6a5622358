/**
 * Gets an object that a listing names. An answer of another length than the listing says is no proof of
 * damage: something in between may have cut it short, or answered in place of the store. The store is asked
 * for the head, and only if that agrees with the answer has the object changed, which the checks of the
 * object then find.
 */
import { WalrustError } from "../../errors.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import type { ObjectBody, ObjectStore } from "../../storage/contract/store.ts";

/** How often an answer of the wrong length is asked for again. */
const TRIES = 3;

/**
 * The body of an object as long as its listing says, or as long as it is now.
 * @throws WalrustError "storage" when the answer has a length that the store denies; others as `get` and
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

/** Gives a body's connection back. */
async function drop(body: ObjectBody): Promise<void> {
  for await (const _ of body.chunks) return;
}
