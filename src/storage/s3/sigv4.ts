/**
 * AWS Signature Version 4 in the Authorization header: the bytes of a request that are signed, and the key.
 *
 *   canonical request  method \n path \n query \n each header "name:value\n" \n signed names \n payload hash
 *   string to sign     "AWS4-HMAC-SHA256" \n time \n scope \n SHA-256(canonical request)
 *   scope              <yyyymmdd>/<region>/<service>/aws4_request
 *   signing key        HMAC over day, region, service and "aws4_request", from "AWS4" + secret; one a day
 *
 * Pure, apart from a cache of the day's key: the caller hands in time and credentials. Path and query come
 * encoded (`uriEncode`), exactly as they are sent, because S3 signs the path on the wire. A secret never
 * leaves this file in an error.
 *
 * Source: AWS, "Signature Calculations for the Authorization Header" (sig-v4-header-based-auth).
 */

/** Keys that sign a request. */
export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
  /** When the keys expire, in ms since the epoch. */
  readonly expiresMs?: number;
}

/** The signed part of a request. */
export interface SignableRequest {
  readonly method: string;
  /** Encoded path, beginning with "/". */
  readonly path: string;
  /** Encoded, sorted query without "?" (`canonicalQuery`). */
  readonly query: string;
  /** Lower-case names, `host` among them; all are signed. */
  readonly headers: Readonly<Record<string, string>>;
  /** SHA-256 of the body, 64 hex digits. */
  readonly payloadSha256: string;
}

/** The region and service for which a signature is valid. */
export interface SigningScope {
  readonly region: string;
  readonly service: string;
}

/** The SHA-256 of an empty body. */
export const EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/**
 * The headers to add to `request`: `x-amz-date`, `authorization` and, with temporary keys,
 * `x-amz-security-token`. `timeMs` is in ms since the epoch.
 */
export function signRequest(
  request: SignableRequest,
  credentials: Credentials,
  scope: SigningScope,
  timeMs: number,
): Record<string, string> {
  const time = formatAmzTime(timeMs);
  const added: Record<string, string> = { "x-amz-date": time };
  if (credentials.sessionToken !== undefined) added["x-amz-security-token"] = credentials.sessionToken;
  const headers: Record<string, string> = { ...request.headers, ...added };
  const names = Object.keys(headers).sort();
  const signedNames = names.join(";");
  const lines = [request.method, request.path, request.query];
  for (const name of names) lines.push(`${name}:${headers[name]!.trim().replace(/ +/g, " ")}`);
  lines.push("", signedNames, request.payloadSha256);
  const day = time.slice(0, 8);
  const scopeText = `${day}/${scope.region}/${scope.service}/aws4_request`;
  const stringToSign = `AWS4-HMAC-SHA256\n${time}\n${scopeText}\n${sha256Hex(lines.join("\n"))}`;
  const key = signingKey(credentials.secretAccessKey, day, scope);
  const signature = new Bun.CryptoHasher("sha256", key).update(stringToSign).digest("hex");
  added["authorization"] =
    `AWS4-HMAC-SHA256 Credential=${credentials.accessKeyId}/${scopeText}, ` +
    `SignedHeaders=${signedNames}, Signature=${signature}`;
  return added;
}

/** A time as `20130524T000000Z`. */
export function formatAmzTime(timeMs: number): string {
  return `${new Date(timeMs).toISOString().slice(0, 19).replace(/[-:]/g, "")}Z`;
}

/** Percent-encodes every UTF-8 byte but `A-Z a-z 0-9 - . _ ~`, and "/" unless `isSlashKept`. */
export function uriEncode(text: string, isSlashKept = false): string {
  const encoded = encodeURIComponent(text).replace(/[!'()*]/g, percentEncode);
  return isSlashKept ? encoded.replaceAll("%2F", "/") : encoded;
}

function percentEncode(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase()}`;
}

/** Query parameters, encoded and sorted, as they are signed and sent. */
export function canonicalQuery(parameters: readonly (readonly [string, string])[]): string {
  const pairs = parameters.map(([name, value]) => [uriEncode(name), uriEncode(value)] as const);
  pairs.sort(([nameA, valueA], [nameB, valueB]) => compare(nameA, nameB) || compare(valueA, valueB));
  return pairs.map(([name, value]) => `${name}=${value}`).join("&");
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

/** The SHA-256 of text or bytes, as 64 hex digits. */
export function sha256Hex(content: string | Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(content).digest("hex");
}

/** The last derived signing key: nearly all requests of a day share it. */
let cached: { readonly id: string; readonly key: Uint8Array } | undefined;

function signingKey(secret: string, day: string, { region, service }: SigningScope): Uint8Array {
  const id = `${day}/${region}/${service}/${secret}`;
  if (cached?.id === id) return cached.key;
  let key: Uint8Array = new TextEncoder().encode(`AWS4${secret}`);
  for (const part of [day, region, service, "aws4_request"]) {
    key = new Bun.CryptoHasher("sha256", key).update(part).digest();
  }
  cached = { id, key };
  return key;
}
