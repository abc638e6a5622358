/**
 * The SHA-256 chain over the objects of a database. It shows that no object was lost, replaced or reordered.
 *
 *   chain(0) = 32 zero bytes
 *   chain(n) = SHA-256(chain(n - 1) ‖ SHA-256(object n))
 *
 * over the first snapshot and then the level-0 objects in TXID order. Values are 32 raw bytes here, and 64
 * lower-case hexadecimal digits in metadata. The chain is no signature: everybody who can write to the bucket
 * can write a new chain.
 */
import { WalrustError } from "../errors.ts";
import { CHAIN_SIZE, type Txid } from "./types.ts";

/** The chain value before the first object: 32 zero bytes. Must not be modified. */
export const CHAIN_ZERO: Uint8Array = new Uint8Array(CHAIN_SIZE);

/**
 * Whether an object is a link of the chain: an increment (level 0) or the first snapshot (TXID 1). A merged
 * object and a later snapshot only repeat the chain value at their last TXID.
 */
export function isChainLink({ level, maxTxid }: { readonly level: number; readonly maxTxid: Txid }): boolean {
  return level === 0 || maxTxid === 1;
}

/** The SHA-256 of `bytes`, 32 bytes. */
export function sha256(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(new Bun.CryptoHasher("sha256").update(bytes).digest());
}

/**
 * The chain value after an object, from the value before it and the SHA-256 of the object's bytes.
 * @throws WalrustError "internal" when one of them is not 32 bytes long
 */
export function nextChain(previous: Uint8Array, objectSha256: Uint8Array): Uint8Array {
  if (previous.length !== CHAIN_SIZE || objectSha256.length !== CHAIN_SIZE) {
    throw new WalrustError(
      "internal",
      `Cannot extend the chain: got ${previous.length} and ${objectSha256.length} bytes, expected 32 and 32`,
    );
  }
  return new Uint8Array(new Bun.CryptoHasher("sha256").update(previous).update(objectSha256).digest());
}

/** The bytes as lower-case hexadecimal digits. */
export function hex(bytes: Uint8Array): string {
  return bytes.toHex();
}

/** Parses 64 lower-case hexadecimal digits into 32 bytes. @throws WalrustError "corrupt" on any other text */
export function parseHex32(text: string): Uint8Array {
  if (!/^[0-9a-f]{64}$/.test(text)) {
    throw new WalrustError(
      "corrupt",
      `Cannot parse hash ${JSON.stringify(text.slice(0, 80))}: expected 64 lower-case hexadecimal digits`,
    );
  }
  return Uint8Array.fromHex(text);
}
