/**
 * The address of a bucket: endpoint, path style or virtual host, and the encoded path of a key.
 */
import { WalrustError } from "../../errors.ts";
import { uriEncode } from "./sigv4.ts";

/** The settings that determine the address. */
export interface S3AddressOptions {
  readonly bucket: string;
  readonly region: string;
  /** URL of an S3-compatible store; AWS if absent. */
  readonly endpoint?: string;
  /** Bucket in the path. Default: yes with an endpoint or a bucket with dots, otherwise a virtual host. */
  readonly pathStyle?: boolean;
}

/** A bucket's address. */
export interface S3Address {
  /** Scheme, host and port, without a slash at the end. */
  readonly origin: string;
  /** The `host` header. */
  readonly host: string;
  /** The encoded path of the bucket itself: "/bucket/", or "/" with a virtual host; it ends in "/". */
  readonly bucketPath: string;
  /** The bucket, if the endpoint names it too: the address then has it twice, which is rarely intended. */
  readonly twiceNamed: string | null;
}

/** The address of a bucket. @throws WalrustError "config" when the endpoint is no http(s) URL. */
export function s3Address(options: S3AddressOptions): S3Address {
  const { bucket, region, endpoint } = options;
  const base = endpoint === undefined ? new URL(awsEndpoint(region)) : parseEndpoint(endpoint);
  // A bucket with dots matches no wildcard certificate of a virtual host.
  const isPathStyle = options.pathStyle ?? (endpoint !== undefined || bucket.includes("."));
  const basePath = base.pathname.endsWith("/") ? base.pathname : `${base.pathname}/`;
  const isNamed = basePath.endsWith(`/${uriEncode(bucket)}/`) || base.hostname.startsWith(`${bucket}.`);
  const twiceNamed = isNamed && endpoint !== undefined ? bucket : null;
  if (isPathStyle) {
    const bucketPath = `${basePath}${uriEncode(bucket)}/`;
    return { origin: base.origin, host: base.host, bucketPath, twiceNamed };
  }
  const host = `${bucket}.${base.host}`;
  return { origin: `${base.protocol}//${host}`, host, bucketPath: basePath, twiceNamed };
}

function awsEndpoint(region: string): string {
  const suffix = region.startsWith("cn-") ? "amazonaws.com.cn" : "amazonaws.com";
  return `https://s3.${region}.${suffix}`;
}

function parseEndpoint(endpoint: string): URL {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : null;
  const isUsable =
    url !== null &&
    (url.protocol === "http:" || url.protocol === "https:") &&
    url.username === "" &&
    url.password === "" &&
    url.search === "" &&
    url.hash === "";
  if (url !== null && isUsable) return url;
  throw new WalrustError("config", "Cannot use the S3 endpoint: it is not a plain http:// or https:// URL", {
    hint: "Write https://host or https://host:port, without keys, bucket or query",
  });
}

/** The encoded path of an object. */
export function s3ObjectPath(address: S3Address, fullKey: string): string {
  return `${address.bucketPath}${uriEncode(fullKey, true)}`;
}
