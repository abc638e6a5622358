/**
 * Destinations for end-to-end tests: a folder, or a bucket of a real S3 gateway. Tests inspect them without
 * walrust's own code, through the file system and Bun's S3 client.
 */
import { afterAll } from "bun:test";
import { existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Variables } from "../processes/binary.ts";
import { tempFolder } from "../temp.ts";
import { startVersitygw, type Versitygw } from "./versitygw.ts";

/** One LTX object. */
export interface StoredObject {
  readonly key: string;
  readonly level: number;
  readonly minTxid: number;
  readonly maxTxid: number;
  readonly sizeBytes: number;
}

/** A destination with access to its objects. */
export interface TestDestination {
  readonly kind: "file" | "s3";
  readonly url: string;
  /** The options of walrust that name the destination. */
  readonly words: readonly string[];
  readonly env: Variables;
  /** Litestream's URL for the backup of one database. */
  litestreamUrl(name: string): string;
  /** The LTX objects of one database, by level and TXID. */
  objects(name: string): Promise<StoredObject[]>;
  /** Deletes one object without walrust. @param key as in `objects` */
  remove(name: string, key: string): Promise<void>;
}

let gateway: Promise<Versitygw> | null = null;

afterAll(async () => {
  await (await gateway)?.stop();
  gateway = null;
});

/** The gateway that all tests of one file share. */
export function sharedGateway(): Promise<Versitygw> {
  gateway ??= startVersitygw();
  return gateway;
}

/** Makes an empty destination of a kind. */
export async function newDestination(kind: "file" | "s3"): Promise<TestDestination> {
  return kind === "file" ? fileDestination() : s3Destination(await sharedGateway());
}

/** Makes an empty folder as destination. */
export function fileDestination(): TestDestination & { readonly folder: string } {
  const folder = join(tempFolder("bucket"), "backup");
  return {
    kind: "file",
    folder,
    url: `file://${folder}`,
    words: ["-b", `file://${folder}`],
    env: {},
    litestreamUrl: (name) => `file://${join(folder, name)}`,
    objects: async (name) => {
      const root = join(folder, name, "ltx");
      const keys = existsSync(root) ? (readdirSync(root, { recursive: true }) as string[]) : [];
      // Retention may delete an object between the listing and the read.
      const sizes = keys.map((key) => statSync(join(root, key), { throwIfNoEntry: false })?.size ?? null);
      return parseKeys(
        keys.flatMap((key, index) => (sizes[index] === null ? [] : [{ key, sizeBytes: sizes[index]! }])),
      );
    },
    remove: async (name, key) => rmSync(join(folder, name, "ltx", key)),
  };
}

let bucketCount = 0;

/**
 * Makes an empty bucket with a prefix.
 * @param endpoint another address of the gateway, such as a forwarder
 */
export function s3Destination(gateway: Versitygw, endpoint = gateway.url): TestDestination {
  const bucket = `bucket-${++bucketCount}`;
  gateway.createBucket(bucket);
  const { accessKeyId, secretAccessKey } = gateway;
  const client = new Bun.S3Client({
    accessKeyId,
    secretAccessKey,
    bucket,
    endpoint: gateway.url,
    region: "us-east-1",
  });
  const query = `endpoint=${encodeURIComponent(endpoint)}&forcePathStyle=true`;
  return {
    kind: "s3",
    url: `s3://${bucket}/vm/one`,
    words: ["-b", `s3://${bucket}/vm/one`, "--endpoint", endpoint],
    env: { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey },
    litestreamUrl: (name) => `s3://${bucket}/vm/one/${name}?${query}`,
    objects: async (name) => parseKeys(await listAll(client, `vm/one/${name}/`)),
    remove: (name, key) => client.delete(`vm/one/${name}/${key}`),
  };
}

async function listAll(client: Bun.S3Client, prefix: string): Promise<{ key: string; sizeBytes: number }[]> {
  const found: { key: string; sizeBytes: number }[] = [];
  let startAfter: string | undefined;
  for (;;) {
    const page = await client.list({ prefix, ...(startAfter === undefined ? {} : { startAfter }) });
    const contents = page.contents ?? [];
    found.push(...contents.map(({ key, size }) => ({ key: key.slice(prefix.length), sizeBytes: size ?? 0 })));
    startAfter = contents.at(-1)?.key;
    if (!page.isTruncated) return found;
  }
}

function parseKeys(found: readonly { key: string; sizeBytes: number }[]): StoredObject[] {
  const objects: StoredObject[] = [];
  for (const { key, sizeBytes } of found) {
    const match = /^([0-9a-f]{4}|[0-9])\/([0-9a-f]{16})-([0-9a-f]{16})\.ltx$/.exec(key);
    if (match === null) continue;
    const [level, minTxid, maxTxid] = match.slice(1).map((digits) => Number.parseInt(digits, 16));
    objects.push({ key, level: level!, minTxid: minTxid!, maxTxid: maxTxid!, sizeBytes });
  }
  return objects.sort((a, b) => a.level - b.level || a.minTxid - b.minTxid || a.maxTxid - b.maxTxid);
}
