/**
 * Turns an answer of S3 that is no success into a WalrustError. One function decides, from status and S3's
 * own code, what callers branch on: not-found, missing-bucket, precondition, auth, and whether a retry can
 * help.
 */
import { type ErrorCode, WalrustError } from "../../errors.ts";
import { ANSWER_CODE, ANSWER_STATUS } from "../contract/request-errors.ts";
import { RETRY_AFTER } from "../contract/retry.ts";

/** An answer that is no success. */
export interface S3Failure {
  /** The request, as in "put db/0000/1.ltx to s3://bucket". */
  readonly action: string;
  readonly status: number;
  /** S3's code ("SlowDown"), or "" without a body (HEAD). */
  readonly s3Code: string;
  readonly s3Message: string;
  readonly requestId: string;
  /** The region of the bucket, if the answer names it. */
  readonly bucketRegion: string | null;
  /** Whether the request is about the bucket, such as a listing: then 404 says nothing of an object. */
  readonly isOfBucket?: boolean;
  /** The wait that the store asks for before the next request, if any. */
  readonly retryAfterMs?: number | null;
  /** The bucket, if the endpoint names it too. */
  readonly twiceNamed?: string | null;
  /** The proxy that the answer came through, as in "through the proxy …": the proxy may have sent it. */
  readonly through?: string;
}

/** S3 codes that mean "later", whatever their status. */
const RETRYABLE_CODES: ReadonlySet<string> = new Set([
  "SlowDown",
  "SlowDownRead",
  "SlowDownWrite",
  "Throttling",
  "ThrottlingException",
  "RequestLimitExceeded",
  "InternalError",
  "ServiceUnavailable",
  "RequestTimeout",
  "RequestTimeTooSkewed",
  "ConditionalRequestConflict",
  "OperationAborted",
  "BadDigest",
  "XAmzContentSHA256Mismatch",
  "IncompleteBody",
  "NoSuchUpload",
]);

const AUTH_CODES: ReadonlySet<string> = new Set([
  "AccessDenied",
  "ExpiredToken",
  "InvalidToken",
  "TokenRefreshRequired",
  "InvalidAccessKeyId",
  "SignatureDoesNotMatch",
  "AuthorizationHeaderMalformed",
  // versitygw's, with status 404.
  "XAdminUserNotFound",
]);

const HINTS: Readonly<Record<string, string>> = {
  AccessDenied: "The store knows the keys but forbids this request: check the policies of user and bucket.",
  InvalidAccessKeyId: "The store does not know this access key id: check the keys and the endpoint.",
  SignatureDoesNotMatch: "The secret access key is wrong, or a proxy changes requests on the way.",
  ExpiredToken: "The temporary keys have expired: get new ones.",
  NoSuchBucket: "Check the bucket's name and the endpoint; walrust does not create buckets.",
  RequestTimeTooSkewed: "The clock of this machine is wrong: set it, for example with NTP.",
};

/** The error for an answer. */
export function s3Error(failure: S3Failure): WalrustError {
  const { action, status, s3Code, s3Message, requestId, retryAfterMs = null, through = "" } = failure;
  const { isOfBucket = false } = failure;
  const details = s3Message === "" || s3Message === s3Code ? "" : `(${s3Message})`;
  // An answer with S3's code is the store's own, whatever is in between.
  const way = s3Code === "" ? through : "";
  const answer = [`${status}`, s3Code, details, way].filter((part) => part !== "").join(" ");
  const isBucketMissing = s3Code === "NoSuchBucket";
  const reason = isBucketMissing ? `the bucket does not exist (${status})` : `the store answered ${answer}`;
  const hint = hintFor(failure);
  return new WalrustError(errorCodeFor(status, s3Code, isOfBucket), `Cannot ${action}: ${reason}`, {
    ...(hint === undefined ? {} : { hint }),
    context: {
      [ANSWER_STATUS]: status,
      [ANSWER_CODE]: s3Code,
      requestId,
      ...(retryAfterMs === null ? {} : { [RETRY_AFTER]: retryAfterMs }),
    },
    retryable: isRetryable(status, s3Code),
  });
}

function errorCodeFor(status: number, s3Code: string, isOfBucket: boolean): ErrorCode {
  if (s3Code === "NoSuchBucket") return "missing-bucket";
  if (s3Code === "NoSuchUpload" || RETRYABLE_CODES.has(s3Code)) return "storage";
  if (AUTH_CODES.has(s3Code) || status === 401 || status === 403) return "auth";
  if (status === 404 && !isOfBucket) return "not-found";
  if (status === 412) return "precondition";
  return "storage";
}

function isRetryable(status: number, s3Code: string): boolean {
  if (RETRYABLE_CODES.has(s3Code)) return true;
  return status === 408 || status === 409 || status === 429 || (status >= 500 && status !== 501);
}

function hintFor({ status, s3Code, bucketRegion, twiceNamed }: S3Failure): string | undefined {
  if (twiceNamed && status >= 300 && status < 500) return twiceNamedHint(twiceNamed);
  if (status === 407) return "The proxy asks for user and password: put them into its URL in the environment";
  const isElsewhere = (status >= 300 && status < 400) || s3Code === "AuthorizationHeaderMalformed";
  if (!isElsewhere) return HINTS[s3Code];
  if (bucketRegion === null) return "The bucket is in another region: check the region and the endpoint.";
  return `The bucket is in region ${bucketRegion}: set the region to ${bucketRegion}.`;
}

/** The hint for a bucket that the endpoint names too. */
export function twiceNamedHint(bucket: string): string {
  return `Check the endpoint: it names the bucket ${bucket} too. Give the endpoint without the bucket.`;
}

/**
 * The wait that a Retry-After header asks for, in ms. A date in it is compared with the store's own clock.
 * Null without a readable header.
 */
export function retryAfterMsOrNull(headers: Headers, nowMs: number): number | null {
  const text = headers.get("retry-after")?.trim() ?? "";
  if (/^\d{1,9}$/.test(text)) return Number(text) * 1_000;
  const untilMs = Date.parse(text);
  if (!Number.isFinite(untilMs)) return null;
  const serverMs = Date.parse(headers.get("date") ?? "");
  return Math.max(0, untilMs - (Number.isFinite(serverMs) ? serverMs : nowMs));
}
