/**
 * A store of one object, the pushed snapshot: so that a replica begins with it by the same restore, with the
 * same checks, as with a bucket. It only reads.
 */

import type { Env } from "../../env.ts";
import { WalrustError } from "../../errors.ts";
import { objectBody } from "../../storage/contract/object-body.ts";
import { clampRange } from "../../storage/contract/object-rules.ts";
import type {
  GetOptions,
  KeptKey,
  ObjectBody,
  ObjectHead,
  ObjectInfo,
  ObjectMetadata,
  ObjectStore,
  StoreCapabilities,
} from "../../storage/contract/store.ts";
import type { ReceivedBody } from "./received-body.ts";

/** The store of one pushed object. */
export class PushedStore implements ObjectStore {
  readonly url = "push:";
  readonly location = "push:";
  readonly layout = "s3";
  readonly capabilities: StoreCapabilities = { conditionalPut: "no" };

  constructor(
    readonly key: string,
    readonly metadata: ObjectMetadata,
    readonly body: ReceivedBody,
    readonly env: Pick<Env, "turn" | "nowMs">,
  ) {}

  async get(key: string, { range }: GetOptions = {}): Promise<ObjectBody> {
    const head = await this.head(key);
    const { offset, length } = clampRange(range, this.body.sizeBytes);
    const isWhole = length === this.body.sizeBytes;
    return objectBody(head, isWhole ? this.body.chunks(this.env) : once(this.body.range(offset, length)));
  }

  async head(key: string): Promise<ObjectHead> {
    if (key !== this.key) throw new WalrustError("not-found", `${key} was not pushed`);
    return { ...this.#info(), metadata: this.metadata };
  }

  async *list(prefix: string): AsyncGenerator<ObjectInfo> {
    if (this.key.startsWith(prefix)) yield this.#info();
  }

  async listFolders(prefix: string): Promise<string[]> {
    if (!this.key.startsWith(prefix)) return [];
    const [folder, ...below] = this.key.slice(prefix.length).split("/");
    return below.length === 0 ? [] : [folder!];
  }

  put(): Promise<void> {
    return readOnly();
  }

  delete(): Promise<readonly KeptKey[]> {
    return readOnly();
  }

  probe(): Promise<StoreCapabilities> {
    return readOnly();
  }

  async close(): Promise<void> {}

  #info(): ObjectInfo {
    return { key: this.key, sizeBytes: this.body.sizeBytes, modifiedMs: this.env.nowMs() };
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

function readOnly(): never {
  throw new WalrustError("internal", "A pushed object is only read");
}
