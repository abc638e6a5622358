/**
 * A bucket without create-only writes for several stores at once. A request takes effect when a scheduler
 * picks it, so a test reaches any order of the requests of two writers.
 */
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { NO_RETRY } from "../../../src/storage/contract/retry.ts";
import type { S3Answer, S3Client, S3Request } from "../../../src/storage/s3/s3-client.ts";
import { s3Error } from "../../../src/storage/s3/s3-errors.ts";
import { S3Store } from "../../../src/storage/s3/s3-store.ts";

interface Kept {
  readonly bytes: Uint8Array;
  readonly headers: Readonly<Record<string, string>>;
}

/** A request that has not taken effect yet. */
interface Waiting {
  readonly request: S3Request;
  readonly go: () => void;
}

/** Picks the request that takes effect next, by its index. */
export type Pick = (waiting: readonly S3Request[]) => number;

/** Picks at random. */
export function anyOrder(random: () => number): Pick {
  return (waiting) => Math.floor(random() * waiting.length);
}

/** Picks reads before puts, and the put of the lowest TXID first, so that all writers progress in step. */
export function lockstep(waiting: readonly S3Request[]): number {
  const look = waiting.findIndex(({ method }) => method !== "PUT");
  if (look !== -1) return look;
  const names = waiting.map(({ fullKey }) => (fullKey ?? "").replace(/^.*\//, ""));
  return names.indexOf(names.toSorted()[0]!);
}

/** A bucket whose scheduler orders the requests. */
export class ScheduledBucket {
  readonly objects = new Map<string, Kept>();
  readonly #waiting: Waiting[] = [];

  constructor(readonly pick: Pick) {}

  /** Opens a separate store over this bucket. */
  open(): S3Store {
    const client = { send: (request: S3Request) => this.#send(request) } as unknown as S3Client;
    const env = systemEnv(SILENT_LOG);
    return new S3Store({ client, bucket: "bucket", prefix: "", env, retry: NO_RETRY, objectHeaders: {} });
  }

  /** Lets requests take effect one at a time until every work has ended. */
  async run(works: readonly Promise<unknown>[]): Promise<void> {
    let isOver = false;
    const all = Promise.allSettled(works).then(() => {
      isOver = true;
    });
    while (!isOver) {
      await systemEnv(SILENT_LOG).turn();
      if (this.#waiting.length === 0) continue;
      const index = this.pick(this.#waiting.map(({ request }) => request));
      this.#waiting.splice(index, 1)[0]!.go();
    }
    await all;
  }

  async #send(request: S3Request): Promise<S3Answer> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push({ request, go: resolve });
    await promise;
    return this.#answer(request);
  }

  #answer({ action, method, fullKey, body, headers = {}, query = [] }: S3Request): S3Answer {
    if (fullKey === null && method === "GET") return this.#list(new Map(query));
    if (fullKey === null) return answerOf({});
    if (method === "PUT" && body?.kind === "bytes") {
      this.objects.set(fullKey, { bytes: body.bytes.slice(), headers });
      return answerOf({ etag: '"opaque"' });
    }
    if (method !== "HEAD") throw new Error(`${method} is not simulated`);
    const kept = this.objects.get(fullKey);
    if (kept === undefined) {
      throw s3Error({ action, status: 404, s3Code: "", s3Message: "", requestId: "", bucketRegion: null });
    }
    return answerOf({ ...kept.headers, etag: '"opaque"', "content-length": String(kept.bytes.length) });
  }

  #list(query: ReadonlyMap<string, string>): S3Answer {
    const prefix = query.get("prefix") ?? "";
    const after = query.get("start-after") ?? "";
    let xml = "<ListBucketResult>";
    for (const [key, { bytes }] of this.objects) {
      if (!key.startsWith(prefix) || key <= after) continue;
      const time = "<LastModified>2026-01-01T00:00:00Z</LastModified>";
      xml += `<Contents><Key>${key}</Key>${time}<Size>${bytes.length}</Size></Contents>`;
    }
    return { ...answerOf({}), text: `${xml}</ListBucketResult>` };
  }
}

function answerOf(headers: Readonly<Record<string, string>>): S3Answer {
  return { status: 200, headers: new Headers(headers), text: "" };
}
