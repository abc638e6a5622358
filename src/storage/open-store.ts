/**
 * Opens a destination as an ObjectStore that retries. Absent keys and authorities come from the environment
 * variables of the AWS tools (`s3/credentials.ts`, `network/tls-trust.ts`), all other options from the
 * caller.
 */
import type { Env } from "../env.ts";
import { type ConditionSink, WalrustError } from "../errors.ts";
import type { PutLimit } from "./contract/put-limit.ts";
import { type RetryPolicy, STALL_MAX_MS } from "./contract/retry.ts";
import type { ObjectStore } from "./contract/store.ts";
import type { FindEarlierUse } from "./file/file-root.ts";
import { FileStore } from "./file/file-store.ts";
import { RetryingStore } from "./guard/retrying-store.ts";
import type { ReachabilityMonitor } from "./network/reachability-monitor.ts";
import { DEFAULT_TLS_TRUST, readTlsTrust } from "./network/tls-trust.ts";
import { parseDestination } from "./parse-destination.ts";
import { type CredentialOptions, credentialSource } from "./s3/credentials.ts";
import { s3Address } from "./s3/s3-address.ts";
import { S3Client } from "./s3/s3-client.ts";
import { S3Store } from "./s3/s3-store.ts";

/** A destination with all its options. */
export interface StoreOptions extends CredentialOptions {
  /** `s3://bucket/prefix` or `file:///dir`. */
  readonly url: string;
  /** URL of an S3-compatible store. Default: AWS itself. */
  readonly endpoint?: string;
  readonly region: string;
  /** Bucket in the path instead of the host name. Default: with an endpoint, or a bucket with dots. */
  readonly pathStyle?: boolean;
  /** Storage class of new objects, for example STANDARD_IA. */
  readonly storageClass?: string;
  /** Server-side encryption of new objects: AES256, aws:kms or aws:kms:dsse. */
  readonly sse?: string;
  /** Id or ARN of the KMS key that encrypts new objects; implies `sse` aws:kms. */
  readonly sseKmsKeyId?: string;
  /** A PEM file of authorities to trust, beside those of AWS_CA_BUNDLE and of the system. */
  readonly caFile?: string;
  /** Send Content-MD5 with every body. Default: only to buckets that ask for it. */
  readonly contentMd5?: boolean;
  readonly retry: RetryPolicy;
  /** A request is cut off when nothing has moved for this long; 30 s by default. */
  readonly stallMs?: number;
  /** Limits the requests that put, over all stores that share the limit; none by default. */
  readonly putLimit?: PutLimit;
  /** Observes every request to a bucket, and reports a store that does not answer; none by default. */
  readonly reachability?: ReachabilityMonitor;
  /** Receives the lasting states of a bucket: weak writes, refused deletes, answers of others. */
  readonly conditions?: ConditionSink;
  /** Finds a database that was replicated to a folder before; then no put makes the folder. */
  readonly findEarlierUse?: FindEarlierUse;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Opens a destination. No request is sent yet.
 *
 * @throws WalrustError "usage" when the destination cannot be used, "config" when an option cannot
 */
export function openStore(
  options: StoreOptions,
  env: Env,
  environment: Environment = process.env,
): ObjectStore {
  const destination = parseDestination(options.url);
  const { retry, putLimit, findEarlierUse } = options;
  if (destination.kind === "file") {
    const { path } = destination;
    const store = new FileStore({ path, env, ...(findEarlierUse === undefined ? {} : { findEarlierUse }) });
    return new RetryingStore(store, env, retry, putLimit);
  }
  const { bucket, prefix } = destination;
  const store = new S3Store({
    client: openClient(bucket, options, env, environment),
    bucket,
    prefix,
    env,
    retry,
    objectHeaders: objectHeaders(options),
    ...(putLimit === undefined ? {} : { putLimit }),
    ...(options.contentMd5 === undefined ? {} : { contentMd5: options.contentMd5 }),
    ...(options.conditions === undefined ? {} : { conditions: options.conditions }),
  });
  return new RetryingStore(store, env, retry);
}

function openClient(bucket: string, options: StoreOptions, env: Env, environment: Environment): S3Client {
  const { region, endpoint, pathStyle } = options;
  const address = s3Address({
    bucket,
    region,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(pathStyle === undefined ? {} : { pathStyle }),
  });
  return new S3Client({
    address,
    region,
    credentials: credentialSource(options, environment, region, env),
    env,
    stallMs: options.stallMs ?? STALL_MAX_MS,
    reachability: options.reachability,
    // Without TLS no server shows a certificate.
    trust: address.origin.startsWith("https:")
      ? readTlsTrust(options.caFile, environment)
      : DEFAULT_TLS_TRUST,
  });
}

/** Headers of every new object. @throws WalrustError "config" when a KMS key contradicts the encryption */
function objectHeaders({ storageClass, sse, sseKmsKeyId }: StoreOptions): Record<string, string> {
  if (sseKmsKeyId && sse && !sse.startsWith("aws:kms")) {
    throw new WalrustError("config", `Cannot use sse_kms_key_id: sse is ${sse}, expected aws:kms`, {
      hint: "Leave out sse, or leave out sse_kms_key_id: a KMS key encrypts only with aws:kms",
    });
  }
  // S3 refuses a KMS key without the encryption that uses it.
  const encryption = sse || (sseKmsKeyId ? "aws:kms" : "");
  const headers: Record<string, string> = {};
  if (storageClass) headers["x-amz-storage-class"] = storageClass;
  if (encryption) headers["x-amz-server-side-encryption"] = encryption;
  if (sseKmsKeyId) headers["x-amz-server-side-encryption-aws-kms-key-id"] = sseKmsKeyId;
  return headers;
}
