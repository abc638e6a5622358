/** A replica server inside the test's process, and a client that pushes objects of a history to it. */
import type { Env } from "../../../src/env.ts";
import { parseObjectKey } from "../../../src/format/keys.ts";
import {
  METADATA_HEADER,
  objectPath,
  type PushReply,
  parsePushReplyOrNull,
  positionPath,
} from "../../../src/format/push.ts";
import type { ReplicaEvent } from "../../../src/recovery/replica/replica-file.ts";
import type { ReplicaPlaces } from "../../../src/recovery/serve/replica-places.ts";
import { serveReplicas } from "../../../src/recovery/serve/serve-replicas.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { AccessToken } from "../../../src/storage/network/access-token.ts";
import { waitUntil } from "../processes/sqlite-process.ts";
import { type LoggedLine, recordingEnv } from "../recording-log.ts";

/** Settings of a run; each has a default. */
export interface ServeRunOptions {
  readonly store?: ObjectStore;
  readonly token?: string;
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly port?: number;
  readonly env?: Partial<Env>;
}

/** The answer to a request. */
export interface ServeAnswer {
  readonly status: number;
  readonly text: string;
  readonly reply: PushReply | null;
}

/** One run of serve. */
export class ServeRun {
  readonly events: (ReplicaEvent & { readonly name: string })[] = [];
  readonly lines: LoggedLine[];
  port = 0;
  readonly #aborter = new AbortController();
  readonly #ended: Promise<void>;
  readonly #options: ServeRunOptions;
  #failure: unknown = null;

  private constructor(places: ReplicaPlaces, options: ServeRunOptions) {
    const { store = null, token, tls, port = 0, env: overrides } = options;
    const { env, lines } = recordingEnv(overrides);
    this.lines = lines;
    this.#options = options;
    this.#ended = serveReplicas({
      ...{ places, store, env, tls, port, version: "test", hostname: "127.0.0.1" },
      signal: this.#aborter.signal,
      token: token === undefined ? null : new AccessToken(token),
      emit: (name, event) => void this.events.push({ ...event, name }),
      onListening: (taken) => {
        this.port = taken;
      },
    }).catch((error) => {
      this.#failure = error;
    });
  }

  /** Starts a server. @throws what ended it before it listened */
  static async start(places: ReplicaPlaces | string, options: ServeRunOptions = {}): Promise<ServeRun> {
    const run = new ServeRun(typeof places === "string" ? { kind: "file", path: places } : places, options);
    await waitUntil(() => run.port > 0 || run.#failure !== null);
    if (run.#failure !== null) throw run.#failure;
    return run;
  }

  get url(): string {
    return `http${this.#options.tls === undefined ? "" : "s"}://127.0.0.1:${this.port}`;
  }

  async ask(path: string, init: RequestInit = {}): Promise<ServeAnswer> {
    const { token } = this.#options;
    const authorization: Record<string, string> =
      token === undefined ? {} : { authorization: `Bearer ${token}` };
    const headers = { ...authorization, ...(init.headers as Record<string, string>) };
    const response = await fetch(this.url + path, { ...init, headers, redirect: "manual" });
    const text = await response.text();
    return { status: response.status, text, reply: parsePushReplyOrNull(text) };
  }

  /** The position of a database. */
  async position(name = "app") {
    return (await this.ask(positionPath(name))).reply!.position;
  }

  /** Pushes an object of a store. @param change changes its bytes on the way */
  async push(
    store: ObjectStore,
    key: string,
    change: (bytes: Uint8Array) => Uint8Array = (bytes) => bytes,
  ): Promise<ServeAnswer> {
    const { database, ...object } = parseObjectKey(store.layout, key)!;
    const body = await store.get(key);
    const headers: Record<string, string> = {};
    for (const [name, value] of Object.entries(body.metadata)) headers[METADATA_HEADER + name] = value;
    const bytes = change(await body.bytes());
    return this.ask(objectPath(database, object), { method: "PUT", body: bytes, headers });
  }

  async stop(): Promise<void> {
    this.#aborter.abort();
    await this.#ended;
    if (this.#failure !== null) throw this.#failure;
  }
}
