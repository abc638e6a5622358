/**
 * The token that a pushing watch shows. It is compared in constant time: both sides as SHA-256, so that
 * neither its length nor its first wrong character shows in the time of an answer.
 */
import { timingSafeEqual } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { errorMessage, systemCode, WalrustError } from "../../errors.ts";

const SIZE_MIN = 16;
const SIZE_MAX = 4096;

/** Checks the tokens of requests. */
export class AccessToken {
  readonly #digest: Uint8Array;

  constructor(token: string) {
    this.#digest = digestOf(token);
  }

  /** Whether an Authorization header carries the token. */
  isIn(authorization: string | undefined): boolean {
    const [, token = ""] = /^Bearer +(\S+)$/i.exec(authorization ?? "") ?? [];
    return timingSafeEqual(digestOf(token), this.#digest);
  }
}

/**
 * Reads a token from its file; white space around it does not count.
 * @throws WalrustError code "config"
 */
export function readTokenFile(path: string): string {
  let text: string;
  try {
    if (!statSync(path).isFile()) throw new Error("it is not a regular file");
    text = readFileSync(path, "latin1");
  } catch (error) {
    const reason = systemCode(error) ?? errorMessage(error);
    throw new WalrustError("config", `Cannot read the token in ${path}: ${reason}`, { cause: error });
  }
  const token = text.trim();
  if (token.length >= SIZE_MIN && token.length <= SIZE_MAX && /^[\x21-\x7e]+$/.test(token)) return token;
  const expected = `expected one line of ${SIZE_MIN} to ${SIZE_MAX} printable ASCII characters`;
  throw new WalrustError("config", `The token in ${path} cannot be used: ${expected}`, {
    hint: "Make one with: openssl rand -hex 32",
  });
}

function digestOf(token: string): Uint8Array {
  return new Bun.CryptoHasher("sha256").update(token).digest() as Uint8Array;
}
