/**
 * From a destination and its options to an ObjectStore that retries. The only place that reads the
 * environment variables of AWS for storage.
 */
import type { Env } from "../env.ts";
import type { ConditionSink } from "../errors.ts";
import type { PutLimit } from "./contract/put-limit.ts";
import { DEFAULT_RETRY, type RetryPolicy } from "./contract/retry.ts";
import type { ObjectStore } from "./contract/store.ts";
import { FileStore } from "./file/file-store.ts";
import { RetryingStore } from "./guard/retrying-store.ts";
import type { ReachabilityMonitor } from "./network/reachability-monitor.ts";
import { DEFAULT_TLS_TRUST, readTlsTrust } from "./network/tls-trust.ts";
import { parseDestination } from "./parse-destination.ts";
import { type CredentialOptions, credentialSource } from "./s3/credentials.ts";
import { s3Address } from "./s3/s3-address.ts";
import { S3Client } from "./s3/s3-client.ts";
import { S3Store } from "./s3/s3-store.ts";

/** The region when nobody says one. */
const DEFAULT_REGION = "us-east-1";

/** A request is cut off when nothing has moved for this long. */
const DEFAULT_STALL_MS = 30_000;

/** A destination with everything that can be said about it; only `url` is needed. */
export interface StoreOptions extends CredentialOptions {
  /** `s3://bucket/prefix` or `file:///dir`. */
  readonly url: string;
  /** URL of an S3-compatible store. Default: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, else AWS itself. */
  readonly endpoint?: string;
  /** Default: AWS_REGION, AWS_DEFAULT_REGION, else us-east-1. */
  readonly region?: string;
  /** Bucket in the path instead of the host name. Default: with an endpoint, or a bucket with dots. */
  readonly pathStyle?: boolean;
  /** For example STANDARD_IA. */
  readonly storageClass?: string;
  /** Server-side encryption: AES256 or aws:kms. */
  readonly sse?: string;
  readonly sseKmsKeyId?: string;
  /** A PEM file of authorities that are trusted too. Default: AWS_CA_BUNDLE, if it is set. */
  readonly caFile?: string;
  /** Send Content-MD5 with every body; without it only to buckets that ask for it. */
  readonly contentMd5?: boolean;
  readonly retry?: RetryPolicy;
  /** A request is cut off when nothing has moved for this long; 30 s by default. */
  readonly stallMs?: number;
  /** Limits the requests that put, over all that share these slots; none by default. */
  readonly putLimit?: PutLimit;
  /** Told of every request to a bucket, to say when it does not answer; nobody by default. */
  readonly reachability?: ReachabilityMonitor;
  /** Told what the store cannot do or refuses for long; nobody by default. */
  readonly conditions?: ConditionSink;
}

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Opens a destination. Nothing is sent yet.
 *
 * @throws WalrustError "usage" or "config" when the destination or an option cannot be used.
 */
export function openStore(
  options: StoreOptions,
  env: Env,
  environment: Environment = process.env,
): ObjectStore {
  const destination = parseDestination(options.url);
  const retry = options.retry ?? DEFAULT_RETRY;
  const { putLimit } = options;
  if (destination.kind === "file") {
    return new RetryingStore(new FileStore({ path: destination.path, env }), env, retry, putLimit);
  }
  const { bucket, prefix } = destination;
  const region =
    options.region || environment["AWS_REGION"] || environment["AWS_DEFAULT_REGION"] || DEFAULT_REGION;
  const endpoint =
    options.endpoint || environment["AWS_ENDPOINT_URL_S3"] || environment["AWS_ENDPOINT_URL"] || undefined;
  const { pathStyle } = options;
  const address = s3Address({
    bucket,
    region,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(pathStyle === undefined ? {} : { pathStyle }),
  });
  const credentials = credentialSource(options, environment, region, env);
  const client = new S3Client({
    address,
    region,
    credentials,
    env,
    stallMs: options.stallMs ?? DEFAULT_STALL_MS,
    reachability: options.reachability,
    // Without TLS nobody shows a certificate.
    trust: address.origin.startsWith("https:")
      ? readTlsTrust(options.caFile, environment)
      : DEFAULT_TLS_TRUST,
  });
  const store = new S3Store({
    client,
    bucket,
    prefix,
    env,
    retry,
    objectHeaders: objectHeaders(options),
    ...(putLimit === undefined ? {} : { putLimit }),
    ...(options.contentMd5 === undefined ? {} : { hasContentMd5: options.contentMd5 }),
    ...(options.conditions === undefined ? {} : { conditions: options.conditions }),
  });
  return new RetryingStore(store, env, retry);
}

function objectHeaders(options: StoreOptions): Record<string, string> {
  const headers: Record<string, string> = {};
  if (options.storageClass) headers["x-amz-storage-class"] = options.storageClass;
  if (options.sse) headers["x-amz-server-side-encryption"] = options.sse;
  if (options.sseKmsKeyId) headers["x-amz-server-side-encryption-aws-kms-key-id"] = options.sseKmsKeyId;
  return headers;
}
