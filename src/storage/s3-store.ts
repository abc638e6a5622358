/**
 * An ObjectStore in an S3 bucket, below a prefix. Each method is one request of the S3 API, or a few;
 * signing, limits and errors are in s3-client.ts. Nothing is retried here but the requests of a multipart
 * upload, whose parts would otherwise all be sent again: retrying-store.ts does the rest.
 *
 * A body that `get` returns holds a connection until it is read to the end, or its iteration is left.
 */
import type { Env } from "../env.ts";
import { hasCode, WalrustError } from "../errors.ts";
import { objectBody, objectBodyOfBytes, putBodySha256, putBodySize } from "./object-body.ts";
import {
  assertFolderPrefix,
  assertObjectKey,
  assertObjectMetadata,
  assertObjectPrefix,
  compareKeys,
} from "./object-rules.ts";
import { probeConditionalPut } from "./probe.ts";
import type { RetryPolicy } from "./retry.ts";
import type { S3Client, S3Stream } from "./s3-client.ts";
import { deleteS3Keys } from "./s3-delete.ts";
import { s3StatusOf } from "./s3-errors.ts";
import { type S3ListedObject, s3ListPages } from "./s3-listing.ts";
import { putMultipart, SINGLE_PUT_SIZE_MAX } from "./s3-multipart.ts";
import type { Slots } from "./slots.ts";
import type {
  ByteRange,
  ListOptions,
  ObjectBody,
  ObjectHead,
  ObjectInfo,
  ObjectStore,
  PutBody,
  PutOptions,
  StoreCapabilities,
} from "./store.ts";

const METADATA_HEADER = "x-amz-meta-";

/** What an S3Store is made of. */
export interface S3StoreOptions {
  readonly client: S3Client;
  readonly bucket: string;
  /** Without slashes at the ends; may be empty. */
  readonly prefix: string;
  readonly env: Env;
  /** For the requests of a multipart upload. */
  readonly retry: RetryPolicy;
  /** Headers of every object that is created: storage class, encryption. */
  readonly objectHeaders?: Readonly<Record<string, string>>;
  /** Limits the uploads that have a request on its way. */
  readonly putSlots?: Slots;
}

/** The pages of a listing that have come, and where the next one begins. */
interface HeldListing {
  readonly objects: S3ListedObject[];
  token: string | null;
}

/** Objects in a bucket. */
export class S3Store implements ObjectStore {
  readonly url: string;
  readonly layout = "s3";
  readonly #options: S3StoreOptions;
  readonly #client: S3Client;
  /** What stands before every key: the prefix with a slash, or nothing. */
  readonly #keyPrefix: string;
  #conditionalPut: StoreCapabilities["conditionalPut"] = "unknown";
  /** Whether parts that stay in the store were told of; once until an upload succeeds. */
  #isLeftPartsSaid = false;

  constructor(options: S3StoreOptions) {
    const { bucket, prefix } = options;
    this.#options = options;
    this.#client = options.client;
    this.#keyPrefix = prefix === "" ? "" : `${prefix}/`;
    this.url = prefix === "" ? `s3://${bucket}` : `s3://${bucket}/${prefix}`;
  }

  get capabilities(): StoreCapabilities {
    return { conditionalPut: this.#conditionalPut };
  }

  async put(key: string, body: PutBody, options: PutOptions = {}): Promise<void> {
    assertObjectKey(key);
    assertObjectMetadata(options.metadata ?? {});
    options.signal?.throwIfAborted();
    if (options.createOnly && this.#conditionalPut === "no")
      return await this.#putAfterHead(key, body, options);
    try {
      await this.#putOnce(key, body, options, options.createOnly === true);
    } catch (error) {
      if (!options.createOnly || s3StatusOf(error) !== 501) throw error;
      this.#options.env.log.warn(
        "the store has no conditional writes: a second writer could not be refused",
        {
          url: this.url,
        },
      );
      this.#conditionalPut = "no";
      await this.#putAfterHead(key, body, options);
    }
  }

  async get(key: string, options: { range?: ByteRange; signal?: AbortSignal } = {}): Promise<ObjectBody> {
    assertObjectKey(key);
    const { range, signal } = options;
    if (range?.length === 0) return objectBodyOfBytes(await this.head(key, options), new Uint8Array(0));
    const headers: Record<string, string> = {};
    if (range !== undefined) headers["range"] = `bytes=${range.offset}-${range.offset + range.length - 1}`;
    const action = this.#action("read", key);
    try {
      const stream = await this.#client.open({
        action,
        method: "GET",
        fullKey: this.#keyPrefix + key,
        headers,
        signal,
      });
      return streamBody(key, stream, range, action);
    } catch (error) {
      if (range === undefined || s3StatusOf(error) !== 416) throw error;
      return objectBodyOfBytes(await this.head(key, options), new Uint8Array(0));
    }
  }

  async head(key: string, options: { signal?: AbortSignal } = {}): Promise<ObjectHead> {
    assertObjectKey(key);
    const { signal } = options;
    try {
      const action = this.#action("read", key);
      const answer = await this.#client.send({
        action,
        method: "HEAD",
        fullKey: this.#keyPrefix + key,
        signal,
      });
      return headOf(key, answer.headers, sizeOf(answer.headers, action));
    } catch (error) {
      // A HEAD is answered without a body: 404 is a missing object or a missing bucket.
      if (hasCode(error, "not-found")) await this.#assertBucket(signal);
      throw error;
    }
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    assertObjectPrefix(prefix);
    const { startAfter, limit = Number.POSITIVE_INFINITY, signal } = options;
    const fullStartAfter = startAfter ? this.#keyPrefix + startAfter : undefined;
    const action = this.#action("list", prefix);
    const fullPrefix = this.#keyPrefix + prefix;
    // All of it first: directory buckets list in no order, and know no start.
    const held = (options.progress?.held as HeldListing | null) ?? { objects: [], token: null };
    if (options.progress !== undefined) options.progress.held = held;
    const { objects } = held;
    const request = { action, fullPrefix, startAfter: fullStartAfter, token: held.token, signal };
    for await (const page of s3ListPages(this.#client, request)) {
      for (const object of page.objects) {
        const isWanted = fullStartAfter === undefined || compareKeys(object.fullKey, fullStartAfter) > 0;
        if (isWanted) objects.push(object);
      }
      held.token = page.nextToken;
      if (objects.length >= limit) break;
    }
    objects.sort((a, b) => compareKeys(a.fullKey, b.fullKey));
    for (const { fullKey, sizeBytes, modifiedMs } of objects.slice(0, limit)) {
      yield { key: fullKey.slice(this.#keyPrefix.length), sizeBytes, modifiedMs };
      signal?.throwIfAborted();
    }
  }

  async listFolders(prefix: string, options: { signal?: AbortSignal } = {}): Promise<string[]> {
    assertFolderPrefix(prefix);
    const fullPrefix = this.#keyPrefix + prefix;
    const request = {
      action: this.#action("list", prefix),
      fullPrefix,
      delimiter: "/",
      signal: options.signal,
    };
    const names: string[] = [];
    for await (const page of s3ListPages(this.#client, request)) {
      for (const folder of page.folders) names.push(folder.slice(fullPrefix.length, -1));
    }
    return names;
  }

  async delete(keys: readonly string[], options: { signal?: AbortSignal } = {}): Promise<void> {
    for (const key of keys) assertObjectKey(key);
    options.signal?.throwIfAborted();
    const fullKeys = keys.map((key) => this.#keyPrefix + key);
    await deleteS3Keys(this.#client, fullKeys, `delete in ${this.url}`, options.signal);
  }

  async probe(key: string): Promise<StoreCapabilities> {
    if (this.#conditionalPut !== "no") {
      const found = await probeConditionalPut(this, key);
      // A 501 on the way has set "no" already, and then the second put was refused by our own look.
      if (this.capabilities.conditionalPut !== "no") this.#conditionalPut = found;
    }
    return this.capabilities;
  }

  async close(): Promise<void> {
    this.#client.close();
  }

  async #putOnce(key: string, body: PutBody, options: PutOptions, isConditional: boolean): Promise<void> {
    const headers = this.#objectHeaders(options);
    const action = this.#action("put", key);
    const fullKey = this.#keyPrefix + key;
    const { signal } = options;
    const { putSlots } = this.#options;
    if (putBodySize(body) > SINGLE_PUT_SIZE_MAX) {
      if (isConditional) await this.#assertAbsent(key, signal);
      const retry = { env: this.#options.env, policy: this.#options.retry, signal };
      const isDone = () => this.#isSame(key, body, options);
      const onLeftParts = (reason: string) => this.#sayLeftParts(key, reason);
      const shared = { client: this.#client, action, fullKey, body, headers, onLeftParts, putSlots };
      await putMultipart({ ...shared, isCreateOnly: isConditional, retry, isDone });
      this.#isLeftPartsSaid = false;
      return;
    }
    const sha256 = options.sha256 ?? (await putBodySha256(body));
    if (isConditional) headers["if-none-match"] = "*";
    const send = () => this.#client.send({ action, method: "PUT", fullKey, headers, body, sha256, signal });
    await (putSlots === undefined ? send() : putSlots.run(send, signal));
  }

  /**
   * Create-only as well as it goes without the store's help: two writers at the same moment are not noticed.
   */
  async #putAfterHead(key: string, body: PutBody, options: PutOptions): Promise<void> {
    await this.#assertAbsent(key, options.signal);
    await this.#putOnce(key, body, options, false);
  }

  async #assertAbsent(key: string, signal: AbortSignal | undefined): Promise<void> {
    try {
      await this.head(key, signal === undefined ? {} : { signal });
    } catch (error) {
      if (hasCode(error, "not-found")) return;
      throw error;
    }
    throw new WalrustError("precondition", `Cannot create ${key} in ${this.url}: it exists`, {
      context: { key },
    });
  }

  #sayLeftParts(key: string, reason: string): void {
    if (this.#isLeftPartsSaid) return;
    this.#isLeftPartsSaid = true;
    const what = "an unfinished upload could not be aborted: the store keeps its parts";
    this.#options.env.log.warn(what, { key, reason });
  }

  async #isSame(key: string, body: PutBody, options: PutOptions): Promise<boolean> {
    const head = await this.head(key, options.signal === undefined ? {} : { signal: options.signal });
    const expected = options.metadata ?? {};
    const isSameMetadata = Object.entries(expected).every(([name, value]) => head.metadata[name] === value);
    return head.sizeBytes === putBodySize(body) && isSameMetadata;
  }

  async #assertBucket(signal: AbortSignal | undefined): Promise<void> {
    try {
      await this.#client.send({ action: this.#action("use", ""), method: "HEAD", fullKey: null, signal });
    } catch (error) {
      if (!hasCode(error, "not-found")) return;
      throw new WalrustError("missing-bucket", `Cannot use ${this.url}: the bucket does not exist`, {
        hint: "Check the bucket's name and the endpoint; walrust does not create buckets.",
      });
    }
  }

  #objectHeaders(options: PutOptions): Record<string, string> {
    const headers: Record<string, string> = { ...this.#options.objectHeaders };
    headers["content-type"] = options.contentType ?? "application/octet-stream";
    for (const [name, value] of Object.entries(options.metadata ?? {}))
      headers[METADATA_HEADER + name] = value;
    return headers;
  }

  #action(verb: string, key: string): string {
    return key === "" ? `${verb} ${this.url}` : `${verb} ${key} in ${this.url}`;
  }
}

function streamBody(key: string, stream: S3Stream, range: ByteRange | undefined, action: string): ObjectBody {
  const { headers, status } = stream;
  try {
    const answerSizeBytes = sizeOf(headers, action);
    if (range === undefined) {
      return objectBody(headOf(key, headers, answerSizeBytes), exactChunks(stream, answerSizeBytes, action));
    }
    const match = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(headers.get("content-range") ?? "");
    const totalBytes = Number(match?.[3]);
    const lengthBytes = Math.min(range.length, totalBytes - range.offset);
    if (
      status !== 206 ||
      match === null ||
      Number(match[1]) !== range.offset ||
      answerSizeBytes !== lengthBytes
    ) {
      throw new WalrustError(
        "storage",
        `Cannot ${action}: the store did not answer with the range asked for`,
      );
    }
    return objectBody(headOf(key, headers, totalBytes), exactChunks(stream, lengthBytes, action));
  } catch (error) {
    stream.cancel();
    throw error;
  }
}

/** The chunks of a body, which has to be exactly as long as it was announced. */
async function* exactChunks(
  stream: S3Stream,
  expectedBytes: number,
  action: string,
): AsyncGenerator<Uint8Array> {
  let receivedBytes = 0;
  for await (const chunk of stream.chunks) {
    receivedBytes += chunk.byteLength;
    yield chunk;
  }
  if (receivedBytes === expectedBytes) return;
  throw new WalrustError(
    "storage",
    `Cannot ${action}: it ended at ${receivedBytes} of ${expectedBytes} bytes`,
    {
      retryable: true,
    },
  );
}

function sizeOf(headers: Headers, action: string): number {
  const sizeBytes = Number(headers.get("content-length") ?? Number.NaN);
  if (Number.isSafeInteger(sizeBytes) && sizeBytes >= 0) return sizeBytes;
  throw new WalrustError("storage", `Cannot ${action}: the store did not tell its size`);
}

function headOf(key: string, headers: Headers, sizeBytes: number): ObjectHead {
  const metadata: Record<string, string> = {};
  for (const [name, value] of headers) {
    if (name.startsWith(METADATA_HEADER)) metadata[name.slice(METADATA_HEADER.length)] = value;
  }
  const modifiedMs = Date.parse(headers.get("last-modified") ?? "");
  return { key, sizeBytes, modifiedMs: Number.isFinite(modifiedMs) ? modifiedMs : 0, metadata };
}
