/**
 * An ObjectStore in an S3 bucket, below a prefix. Each method is one request of the S3 API, or a few;
 * `S3Client` signs, limits and judges them. Only the requests of a multipart upload are retried here, because
 * a retry of the whole put would send all parts again; `RetryingStore` retries every other call.
 *
 * A body that `get` returns holds a connection until it is read to the end, or its iteration is left.
 *
 * Where the store does not enforce create-only writes, a put checks the key before and after. If two writers
 * put at the same moment, the put whose object was overwritten fails.
 */
import type { Env } from "../../env.ts";
import { type ConditionSink, hasCode, NO_CONDITIONS, WalrustError } from "../../errors.ts";
import { PROBE_BODY, type ProbedStore, probeCreateOnly } from "../contract/create-only-check.ts";
import { objectBodyOfBytes, putBodySha256, putBodySize } from "../contract/object-body.ts";
import {
  assertFolderPrefix,
  assertObjectKey,
  assertObjectMetadata,
  assertObjectPrefix,
  compareKeys,
} from "../contract/object-rules.ts";
import type { PutLimit } from "../contract/put-limit.ts";
import { answerStatusOf } from "../contract/request-errors.ts";
import { NO_RETRY, type RetryPolicy } from "../contract/retry.ts";
import type {
  CallOptions,
  GetOptions,
  KeptKey,
  ListOptions,
  ObjectBody,
  ObjectHead,
  ObjectInfo,
  ObjectStore,
  PutBody,
  PutOptions,
  StoreCapabilities,
  UnfinishedUpload,
} from "../contract/store.ts";
import {
  assertObjectAnswer,
  checksumOrNull,
  headOf,
  METADATA_HEADER,
  rangeBody,
  sizeOrNull,
  wholeBody,
} from "./s3-answer.ts";
import type { S3Client } from "./s3-client.ts";
import { S3Conditions } from "./s3-conditions.ts";
import { deleteS3Keys } from "./s3-delete.ts";
import { type S3ListedObject, s3ListPages } from "./s3-listing.ts";
import { putMultipart, SINGLE_PUT_SIZE_MAX } from "./s3-multipart.ts";
import { type BodyRequest, type PutQuirks, receiptOf, sendBody } from "./s3-send.ts";
import { abortS3Upload, abortUnowned, listS3Uploads, UploadBook } from "./s3-uploads.ts";

/** The parts of an S3Store. */
export interface S3StoreOptions {
  readonly client: S3Client;
  readonly bucket: string;
  /** Without slashes at the ends; may be empty. */
  readonly prefix: string;
  readonly env: Env;
  /** The retries of the requests of a multipart upload. */
  readonly retry: RetryPolicy;
  /** Headers of every object that is created: storage class, encryption. */
  readonly objectHeaders: Readonly<Record<string, string>>;
  /** Limits the uploads that have a request on its way. */
  readonly putLimit?: PutLimit;
  /** Whether every body carries Content-MD5; if absent, only bodies for a bucket that asks for it. */
  readonly contentMd5?: boolean;
  /** Receives lasting states: weak writes, refused deletes, answers of something else. */
  readonly conditions?: ConditionSink;
}

/** The pages of a listing that have come, and the start of the next one. */
interface HeldListing {
  readonly objects: S3ListedObject[];
  token: string | null;
}

/** How a put is kept create-only: not at all, by If-None-Match, or by checks before and after it. */
type CreateOnlyMode = "none" | "condition" | "checks";

/** Objects in a bucket. */
export class S3Store implements ObjectStore {
  readonly url: string;
  readonly location: string;
  readonly layout = "s3";
  readonly #options: S3StoreOptions;
  readonly #client: S3Client;
  /** The prefix of every key, with a slash; or "". */
  readonly #keyPrefix: string;
  readonly #conditions: S3Conditions;
  readonly #putQuirks: PutQuirks;
  readonly #deleteQuirks = { isSingle: false };
  readonly #uploadBook = new UploadBook();
  #conditionalPut: StoreCapabilities["conditionalPut"] = "unknown";
  #conditionalComplete: StoreCapabilities["conditionalPut"] = "unknown";
  /** Whether parts that stay in the store were logged; reset when an upload succeeds. */
  #areLeftPartsLogged = false;
  #listsUploads = true;

  constructor(options: S3StoreOptions) {
    const { bucket, prefix } = options;
    this.#options = options;
    this.#client = options.client;
    this.#keyPrefix = prefix === "" ? "" : `${prefix}/`;
    this.url = prefix === "" ? `s3://${bucket}` : `s3://${bucket}/${prefix}`;
    this.location = `${this.url} at ${options.client.origin}`;
    this.#putQuirks = { needsMd5: options.contentMd5 === true, hasOpaqueEtags: false };
    this.#conditions = new S3Conditions(options.conditions ?? NO_CONDITIONS, options.env, this.url);
  }

  get capabilities(): StoreCapabilities {
    return { conditionalPut: this.#conditionalPut, conditionalComplete: this.#conditionalComplete };
  }

  async put(key: string, body: PutBody, options: PutOptions = {}): Promise<void> {
    assertObjectKey(key);
    assertObjectMetadata(options.metadata ?? {});
    options.signal?.throwIfAborted();
    await this.#conditions.observed("put", () => this.#putAsWanted(key, body, options));
  }

  async #putAsWanted(key: string, body: PutBody, options: PutOptions): Promise<void> {
    if (!options.createOnly) return await this.#putOnce(key, body, options, "none");
    const isInParts = putBodySize(body) > SINGLE_PUT_SIZE_MAX;
    const isEnforced = isInParts ? this.#conditionalComplete : this.#conditionalPut;
    if (isEnforced === "no") return await this.#putOnce(key, body, options, "checks");
    try {
      await this.#putOnce(key, body, options, "condition");
    } catch (error) {
      if (answerStatusOf(error) !== 501) throw error;
      // The 501 was about the header only if the store accepts the object without it.
      await this.#putOnce(key, body, options, "checks");
      this.#learn(isInParts ? { conditionalComplete: "no" } : { conditionalPut: "no" });
    }
  }

  async get(key: string, options: GetOptions = {}): Promise<ObjectBody> {
    assertObjectKey(key);
    const { range } = options;
    if (range?.length === 0) return objectBodyOfBytes(await this.head(key, options), new Uint8Array(0));
    try {
      return await this.#conditions.observed("get", () => this.#open(key, options));
    } catch (error) {
      if (range === undefined || answerStatusOf(error) !== 416) throw error;
      return objectBodyOfBytes(await this.head(key, options), new Uint8Array(0));
    }
  }

  async #open(key: string, options: GetOptions): Promise<ObjectBody> {
    const { range, signal } = options;
    const headers: Record<string, string> = {};
    if (range !== undefined) headers["range"] = `bytes=${range.offset}-${range.offset + range.length - 1}`;
    const action = this.#action("read", key);
    const request = { action, method: "GET", fullKey: this.#keyPrefix + key, headers, signal } as const;
    const stream = await this.#client.open(request);
    try {
      assertObjectAnswer(stream, action);
      if (range !== undefined) return rangeBody(key, stream, range, action);
      const sizeBytes = sizeOrNull(stream.headers) ?? (await this.#sizeOf(key, signal));
      return wholeBody(key, stream, sizeBytes, action);
    } catch (error) {
      stream.cancel();
      throw error;
    }
  }

  async head(key: string, options: CallOptions = {}): Promise<ObjectHead> {
    assertObjectKey(key);
    const { signal } = options;
    try {
      const headers = await this.#conditions.observed("head", () => this.#headersOf(key, signal));
      const head = headOf(key, headers, sizeOrNull(headers) ?? (await this.#listedSizeOf(key, signal)));
      const checksum = checksumOrNull(headers, this.#putQuirks.hasOpaqueEtags);
      return checksum === null ? head : { ...head, checksum };
    } catch (error) {
      // The answer to a HEAD has no body: 404 is a missing object or a missing bucket.
      if (hasCode(error, "not-found")) await this.#assertBucket(signal);
      throw error;
    }
  }

  async #headersOf(key: string, signal: AbortSignal | undefined): Promise<Headers> {
    const action = this.#action("read", key);
    const fullKey = this.#keyPrefix + key;
    const answer = await this.#client.send({ action, method: "HEAD", fullKey, signal });
    assertObjectAnswer(answer, action);
    return answer.headers;
  }

  /** The size of an object whose body comes without a length. */
  async #sizeOf(key: string, signal: AbortSignal | undefined): Promise<number> {
    return sizeOrNull(await this.#headersOf(key, signal)) ?? (await this.#listedSizeOf(key, signal));
  }

  /** The size of an object by the listing: the answers of some gateways do not announce it. */
  async #listedSizeOf(key: string, signal: AbortSignal | undefined): Promise<number> {
    for await (const { key: listed, sizeBytes } of this.list(key, { signal })) {
      if (listed === key) return sizeBytes;
    }
    const action = this.#action("read", key);
    const message = `Cannot ${action}: neither the store's answer nor its listing has the size`;
    throw new WalrustError("storage", message, { retryable: true });
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncGenerator<ObjectInfo> {
    assertObjectPrefix(prefix);
    const { startAfter, limit = Number.POSITIVE_INFINITY, signal } = options;
    const fullStartAfter = startAfter ? this.#keyPrefix + startAfter : undefined;
    const action = this.#action("list", prefix);
    const fullPrefix = this.#keyPrefix + prefix;
    // All pages come first: directory buckets list in no order, and ignore the start.
    const held = (options.progress?.held as HeldListing | null) ?? { objects: [], token: null };
    if (options.progress !== undefined) options.progress.held = held;
    const { objects } = held;
    const request = { action, fullPrefix, startAfter: fullStartAfter, token: held.token, signal };
    await this.#conditions.observed("list", async () => {
      for await (const page of s3ListPages(this.#client, request)) {
        for (const object of page.objects) {
          const isWanted = fullStartAfter === undefined || compareKeys(object.fullKey, fullStartAfter) > 0;
          if (isWanted) objects.push(object);
        }
        held.token = page.nextToken;
        if (objects.length >= limit) break;
      }
    });
    objects.sort((a, b) => compareKeys(a.fullKey, b.fullKey));
    for (const { fullKey, sizeBytes, modifiedMs } of objects.slice(0, limit)) {
      yield { key: fullKey.slice(this.#keyPrefix.length), sizeBytes, modifiedMs };
      signal?.throwIfAborted();
    }
  }

  async listFolders(prefix: string, options: CallOptions = {}): Promise<string[]> {
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
      for (const folder of page.folders)
        if (folder.endsWith("/")) names.push(folder.slice(fullPrefix.length, -1));
    }
    return names;
  }

  async delete(keys: readonly string[], options: CallOptions = {}): Promise<KeptKey[]> {
    for (const key of keys) assertObjectKey(key);
    options.signal?.throwIfAborted();
    const fullKeys = keys.map((key) => this.#keyPrefix + key);
    const action = `delete in ${this.url}`;
    const kept = await this.#conditions.observed("delete", () =>
      deleteS3Keys(this.#client, fullKeys, action, this.#deleteQuirks, options.signal),
    );
    this.#conditions.deleted(keys.length, kept);
    return kept.map(({ key, reason }) => ({ key: key.slice(this.#keyPrefix.length), reason }));
  }

  /** Each probe overrules the one before: something else may have answered that one. */
  async probe(key: string, options: CallOptions = {}): Promise<StoreCapabilities> {
    assertObjectKey(key);
    this.#learn(
      await this.#conditions.observed("put", () => probeCreateOnly(this.#probed(key, options.signal))),
    );
    return this.capabilities;
  }

  #probed(key: string, signal: AbortSignal | undefined): ProbedStore {
    return {
      put: (isCreateOnly) => this.#putOnce(key, PROBE_BODY, { signal }, isCreateOnly ? "condition" : "none"),
      putInParts: () => this.#putInParts(key, PROBE_BODY, { signal, isSingleAttempt: true }, "condition"),
      exists: async () => {
        const { sizeBytes } = await this.head(key, { signal });
        return sizeBytes === putBodySize(PROBE_BODY);
      },
      remove: async () => {
        const fullKey = this.#keyPrefix + key;
        await this.delete([key]);
        const isLeft = this.#uploadBook.takeLost(fullKey);
        if (isLeft) await abortUnowned(this.#client, fullKey, this.#uploadBook, undefined);
      },
    };
  }

  #learn(found: Partial<StoreCapabilities>): void {
    this.#conditionalPut = found.conditionalPut ?? this.#conditionalPut;
    this.#conditionalComplete = found.conditionalComplete ?? this.#conditionalComplete;
    this.#conditions.learned(this.capabilities);
    const { conditions, env } = this.#options;
    if (conditions !== undefined || this.#conditionalPut !== "no") return;
    env.log.warn("the store does not enforce create-only writes: a second writer is noticed late", {
      url: this.url,
    });
  }

  async unfinishedUploads(prefix: string, options: CallOptions = {}): Promise<UnfinishedUpload[]> {
    assertObjectPrefix(prefix);
    if (!this.#listsUploads) return [];
    const action = this.#action("list the unfinished uploads of", prefix);
    const fullPrefix = this.#keyPrefix + prefix;
    const uploads = await listS3Uploads(this.#client, fullPrefix, action, options.signal);
    this.#listsUploads = uploads !== null;
    if (uploads === null) {
      this.#options.env.log.debug("the store does not list unfinished uploads: none are aborted", {
        url: this.url,
      });
    }
    return (uploads ?? [])
      .filter((upload) => !this.#uploadBook.isOurs(upload))
      .map(({ fullKey, uploadId, initiatedMs }) => {
        return { key: fullKey.slice(this.#keyPrefix.length), uploadId, initiatedMs };
      });
  }

  async abortUploads(uploads: readonly UnfinishedUpload[], options: CallOptions = {}): Promise<void> {
    for (const { key, uploadId } of uploads) {
      await abortS3Upload(this.#client, { fullKey: this.#keyPrefix + key, uploadId }, options.signal);
    }
  }

  async close(): Promise<void> {
    this.#client.close();
  }

  /** One put. With "checks", the second one finds another writer that has put there at the same moment. */
  async #putOnce(key: string, body: PutBody, options: PutOptions, mode: CreateOnlyMode): Promise<void> {
    if (putBodySize(body) > SINGLE_PUT_SIZE_MAX) {
      await this.#putInParts(key, body, options, mode);
      this.#areLeftPartsLogged = false;
      return;
    }
    const { signal } = options;
    if (mode === "checks") await this.#assertAbsent(key, signal);
    const headers = this.#objectHeaders(options);
    if (mode === "condition") headers["if-none-match"] = "*";
    const request: BodyRequest = {
      action: this.#action("put", key),
      method: "PUT",
      fullKey: this.#keyPrefix + key,
      headers,
      body,
      sha256: options.sha256 ?? (await putBodySha256(body)),
      signal,
    };
    const { putLimit } = this.#options;
    const facts = { sizeBytes: putBodySize(body), reservation: options.reservation };
    const send = () => sendBody(this.#client, request, this.#putQuirks);
    const { answer, etag } = await (putLimit === undefined ? send() : putLimit.run(send, signal, facts));
    if ((await receiptOf(answer, etag, request, this.#putQuirks)) === "unsure") {
      await this.#readBack(key, request, options, mode);
    }
    if (mode === "checks") await this.#assertStillOurs(key, body, options);
    options.onSent?.(putBodySize(body));
  }

  async #putInParts(key: string, body: PutBody, options: PutOptions, mode: CreateOnlyMode): Promise<void> {
    const { signal, isSingleAttempt, retries, uploadMemory: memory } = options;
    const policy = isSingleAttempt === true ? NO_RETRY : this.#options.retry;
    // The requests of the upload take a place themselves, one for all of them.
    options.reservation?.end();
    // A check before parts are sent in vain. A probe has its key for itself.
    if (mode !== "none" && body !== PROBE_BODY) await this.#assertAbsent(key, signal);
    const sha256 = memory === undefined ? "" : (options.sha256 ?? (await putBodySha256(body)));
    await putMultipart({
      continued: memory && { memory, location: this.location, key, sha256 },
      client: this.#client,
      action: this.#action("put", key),
      fullKey: this.#keyPrefix + key,
      body,
      headers: this.#objectHeaders(options),
      isCreateOnly: mode === "condition",
      retry: { env: this.#options.env, policy, signal, onRetry: () => retries?.retried() },
      isDone: () => this.#isSame(key, body, options),
      onLeftParts: (reason) => this.#logLeftParts(key, body, reason),
      putLimit: this.#options.putLimit,
      quirks: this.#putQuirks,
      book: this.#uploadBook,
      onSent: options.onSent,
    });
    if (mode === "checks") await this.#assertStillOurs(key, body, options);
  }

  /** Reads an object that was just put, because its ETag or checksum is not that of the bytes sent. */
  async #readBack(
    key: string,
    { sha256 }: BodyRequest,
    options: PutOptions,
    mode: CreateOnlyMode,
  ): Promise<void> {
    const { signal } = options;
    const hasher = new Bun.CryptoHasher("sha256");
    const body = await this.#open(key, { signal });
    for await (const chunk of body.chunks) hasher.update(chunk);
    if (hasher.digest("hex") === sha256) {
      this.#putQuirks.hasOpaqueEtags = true;
      return;
    }
    const isOurs = isSubset(options.metadata ?? {}, body.metadata);
    // With the condition nobody else can have put there since: the object is ours, and damaged.
    if (mode === "condition" && isOurs) await this.delete([key], { signal });
    const action = this.#action("put", key);
    throw new WalrustError("storage", `Cannot ${action}: the store holds other bytes than walrust sent`, {
      retryable: true,
    });
  }

  /** @throws WalrustError "precondition" when another writer's object has taken the place of ours */
  async #assertStillOurs(key: string, body: PutBody, options: PutOptions): Promise<void> {
    if (await this.#isSame(key, body, options)) return;
    throw new WalrustError(
      "precondition",
      `Cannot create ${key} in ${this.url}: another writer created it at the same moment`,
      { context: { key } },
    );
  }

  async #assertAbsent(key: string, signal: AbortSignal | undefined): Promise<void> {
    try {
      await this.head(key, { signal });
    } catch (error) {
      if (hasCode(error, "not-found")) return;
      throw error;
    }
    throw new WalrustError("precondition", `Cannot create ${key} in ${this.url}: it exists`, {
      context: { key },
    });
  }

  #logLeftParts(key: string, body: PutBody, reason: string): void {
    // The few bytes of a probe are not worth a line: a store that keeps its parts refuses deletes too.
    if (this.#areLeftPartsLogged || body === PROBE_BODY) return;
    this.#areLeftPartsLogged = true;
    const message = "an unfinished upload could not be aborted: the store keeps its parts";
    this.#options.env.log.warn(message, { key, reason });
  }

  async #isSame(key: string, body: PutBody, options: PutOptions): Promise<boolean> {
    const callOptions = { signal: options.signal };
    const head = await this.head(key, callOptions);
    if (head.sizeBytes !== putBodySize(body)) return false;
    const expected = options.metadata ?? {};
    const isLost = Object.keys(expected).length > 0 && Object.keys(head.metadata).length === 0;
    if (!isLost) return isSubset(expected, head.metadata);
    // A store that loses metadata: the bytes decide.
    const hasher = new Bun.CryptoHasher("sha256");
    for await (const chunk of (await this.#open(key, callOptions)).chunks) hasher.update(chunk);
    return hasher.digest("hex") === (options.sha256 ?? (await putBodySha256(body)));
  }

  async #assertBucket(signal: AbortSignal | undefined): Promise<void> {
    try {
      await this.#client.send({ action: this.#action("use", ""), method: "HEAD", fullKey: null, signal });
    } catch (error) {
      if (answerStatusOf(error) !== 404) return;
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

function isSubset(
  expected: Readonly<Record<string, string>>,
  found: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(expected).every(([name, value]) => found[name] === value);
}
