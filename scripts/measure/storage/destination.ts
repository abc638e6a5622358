/**
 * The destination of a drill, a folder or a bucket, listed without walrust's own code.
 */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { BUCKET, CREDENTIALS } from "../gateway.ts";

/** One LTX object. */
export interface StoredLtx {
  readonly level: number;
  readonly minTxid: number;
  readonly maxTxid: number;
}

/** A destination of walrust. */
export interface Destination {
  readonly label: string;
  readonly bucket: string;
  readonly endpoint: string | null;
  /** The LTX objects of one database, by level and TXID. */
  objects(name: string): Promise<StoredLtx[]>;
}

const LTX_KEY = /(?:^|\/)([0-9a-f]{4}|[0-9])\/([0-9a-f]{16})-([0-9a-f]{16})\.ltx$/;

/** A folder. */
export function folderDestination(folder: string): Destination {
  return {
    label: "folder",
    bucket: `file://${folder}`,
    endpoint: null,
    objects: async (name) => {
      const root = join(folder, name);
      return existsSync(root) ? parseKeys(readdirSync(root, { recursive: true, encoding: "utf8" })) : [];
    },
  };
}

/** The bucket of the storage. @param nearUrl URL without faults, for listings */
export function bucketDestination(label: string, endpoint: string, nearUrl = endpoint): Destination {
  return {
    ...{ label, endpoint, bucket: `s3://${BUCKET}/${label}` },
    objects: async (name) => {
      // Imported late: a script installs its packages first.
      const { paginateListObjectsV2, S3Client } = await import("@aws-sdk/client-s3");
      const { region, ...credentials } = CREDENTIALS;
      const options = { credentials, region, endpoint: nearUrl, forcePathStyle: true };
      const request = { client: new S3Client(options) };
      const keys: string[] = [];
      for await (const page of paginateListObjectsV2(request, {
        Bucket: BUCKET,
        Prefix: `${label}/${name}/`,
      })) {
        keys.push(...(page.Contents ?? []).map(({ Key = "" }) => Key));
      }
      return parseKeys(keys);
    },
  };
}

/** The options of walrust that name a destination. */
export function destinationWords({ bucket, endpoint }: Destination): string[] {
  return ["-b", bucket, ...(endpoint === null ? [] : ["--endpoint", endpoint])];
}

/** The LTX objects among keys; any other key is left out. */
export function parseKeys(keys: readonly string[]): StoredLtx[] {
  return keys
    .map((key) => LTX_KEY.exec(key))
    .filter((match) => match !== null)
    .map((match) => {
      const [minTxid, maxTxid] = match.slice(2).map((digits) => Number.parseInt(digits, 16));
      return { level: Number.parseInt(match[1]!, 16), minTxid: minTxid!, maxTxid: maxTxid! };
    })
    .sort((a, b) => a.level - b.level || a.minTxid - b.minTxid || a.maxTxid - b.maxTxid);
}

/**
 * The fault on level 0 of one database, or null: every object continues the one before, without gap or
 * overlap. Retention removes objects only from the beginning.
 */
export function historyFaultOrNull(objects: readonly StoredLtx[]): string | null {
  let newest: number | null = null;
  for (const { minTxid, maxTxid } of objects.filter(({ level }) => level === 0)) {
    if (newest !== null && minTxid !== newest + 1) return `TXID ${minTxid} follows ${newest} on level 0`;
    newest = maxTxid;
  }
  return null;
}
