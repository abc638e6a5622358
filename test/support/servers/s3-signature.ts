/**
 * Verifies signatures as S3 does, independently of src/storage/s3/sigv4.ts. It works from the raw request
 * line and headers, decodes and encodes them again, and uses node:crypto. A wrongly encoded request does not
 * match here.
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";

/** A request as received over the wire. */
export interface RawRequest {
  readonly method: string;
  /** Path and query, undecoded. */
  readonly target: string;
  /** Headers by lower-case name. */
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly body: Buffer;
}

/** Keys and settings of the verifier. */
export interface VerifierOptions {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string | undefined;
  readonly region: string;
  readonly nowMs: number;
}

/** The reason for refusing a request, as S3 gives it. */
export interface Refusal {
  readonly status: number;
  readonly code: string;
  readonly message: string;
}

/** Null for a correctly signed request, otherwise the refusal of S3. */
export function refusalOrNull(request: RawRequest, options: VerifierOptions): Refusal | null {
  const { headers } = request;
  const scope = "([^/]+)/(\\d{8})/([^/]+)/s3/aws4_request";
  const rest = "SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})";
  const pattern = new RegExp(`^AWS4-HMAC-SHA256 Credential=${scope}, ${rest}$`);
  const match = pattern.exec(headers["authorization"] ?? "");
  if (match === null) return refuse(403, "AccessDenied", "no usable Authorization header");
  const [, accessKeyId, day, region, signedNames, signature] = match as unknown as string[];
  if (accessKeyId !== options.accessKeyId) return refuse(403, "InvalidAccessKeyId", "unknown access key id");
  if (region !== options.region)
    return refuse(400, "AuthorizationHeaderMalformed", `expected ${options.region}`);
  const time = headers["x-amz-date"] ?? "";
  const timeMs = Date.parse(time.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, "$1-$2-$3T$4:$5:$6Z"));
  if (!(Math.abs(timeMs - options.nowMs) <= 15 * 60_000)) {
    return refuse(403, "RequestTimeTooSkewed", "the difference between the clocks is too large");
  }
  if (day !== time.slice(0, 8)) return refuse(403, "SignatureDoesNotMatch", "the scope is of another day");
  if (headers["x-amz-security-token"] !== options.sessionToken) {
    return refuse(400, "ExpiredToken", "the provided token has expired");
  }
  const names = signedNames!.split(";");
  const needed = Object.keys(headers).filter((name) => name === "host" || name.startsWith("x-amz-"));
  const unsigned = needed.find((name) => !names.includes(name));
  if (unsigned !== undefined) return refuse(403, "AccessDenied", `header ${unsigned} is not signed`);
  const payloadHash = headers["x-amz-content-sha256"] ?? "";
  const canonical = [
    request.method,
    ...canonicalTarget(request.target),
    ...names.map((name) => `${name}:${(headers[name] ?? "").trim().replace(/ +/g, " ")}`),
    "",
    signedNames,
    payloadHash,
  ].join("\n");
  const canonicalHash = createHash("sha256").update(canonical).digest("hex");
  const text = `AWS4-HMAC-SHA256\n${time}\n${day}/${region}/s3/aws4_request\n${canonicalHash}`;
  let key: Buffer | string = `AWS4${options.secretAccessKey}`;
  for (const part of [day!, region!, "s3", "aws4_request", text]) {
    key = createHmac("sha256", key).update(part).digest();
  }
  if (!timingSafeEqual(key as Buffer, Buffer.from(signature!, "hex"))) {
    return refuse(403, "SignatureDoesNotMatch", "the signature does not match");
  }
  if (createHash("sha256").update(request.body).digest("hex") === payloadHash) return null;
  return refuse(400, "XAmzContentSHA256Mismatch", "the body is not what x-amz-content-sha256 says");
}

function refuse(status: number, code: string, message: string): Refusal {
  return { status, code, message };
}

/** The canonical path and query of a raw request target. */
function canonicalTarget(target: string): [string, string] {
  const mark = target.indexOf("?");
  const path = mark === -1 ? target : target.slice(0, mark);
  const pairs = mark === -1 ? [] : target.slice(mark + 1).split("&");
  const encodedPath = path
    .split("/")
    .map((segment) => strictEncode(decodeURIComponent(segment)))
    .join("/");
  const encodedPairs = pairs.map((pair) => {
    const [name, value = ""] = pair.split(/=(.*)/s);
    return `${strictEncode(decodeURIComponent(name!))}=${strictEncode(decodeURIComponent(value))}`;
  });
  return [encodedPath, encodedPairs.sort().join("&")];
}

/** Encodes every byte except the unreserved ones as %XX. */
function strictEncode(text: string): string {
  let encoded = "";
  for (const byte of Buffer.from(text)) {
    const character = String.fromCharCode(byte);
    encoded += /[A-Za-z0-9._~-]/.test(character)
      ? character
      : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return encoded;
}
