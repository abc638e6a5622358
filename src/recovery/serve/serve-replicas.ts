/**
 * `serve`: an HTTP server that watches push captured files to, and that applies them to local replicas.
 *
 * A request is judged by its head first: token, name, TXIDs and length. So a body is read only from somebody
 * who has the token, for a place that exists, and with room on the disk.
 */
import { existsSync } from "node:fs";
import { type Env, randomTag } from "../../env.ts";
import { asWalrustError, errorMessage, systemCode, WalrustError } from "../../errors.ts";
import {
  encodePushReply,
  HEALTH_PATH,
  INSTANCE_HEADER,
  METADATA_HEADER,
  type PushRoute,
  parsePushPath,
} from "../../format/push.ts";
import { diskRoomOf, RESERVE_BYTES } from "../../local/folders/disk-room.ts";
import { assertObjectMetadata } from "../../storage/contract/object-rules.ts";
import type { ObjectMetadata } from "../../storage/contract/store.ts";
import type { AccessToken } from "../../storage/network/access-token.ts";
import { LTX_SIZE_MIN } from "../object/object-size.ts";
import { PushedReplica, type PushOutcome, type ServeContext } from "./pushed-replica.ts";
import { type HttpReceiver, type HttpReply, plainReply, receiveHttp } from "./receive-http.ts";
import { ReceivedBody } from "./received-body.ts";
import { bodyFolderOf, placeOf, type ReplicaPlaces, recordedNameOrNull } from "./replica-places.ts";
import type { RequestHead } from "./request-head.ts";
import { healthPage, metricsPage } from "./serve-pages.ts";

/** How often states that wait for readers are tried again. */
const POLL_MS = 1_000;
const STATUSES = { old: 409, gap: 409, diverged: 409, busy: 409, unsound: 422, failed: 503 } as const;

/** The input of a server. */
export interface ServeInput extends ServeContext {
  readonly places: ReplicaPlaces;
  readonly hostname: string;
  readonly port: number;
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
  /** Null: everybody who reaches the address may push. */
  readonly token: AccessToken | null;
  readonly version: string;
  /** Called with the port once the server listens. */
  readonly onListening?: (port: number) => void;
}

/**
 * Serves until the signal aborts.
 * @throws WalrustError code "usage" when it cannot listen; "database" or "locked" when the file of `--db` is
 * no replica, or another process has it
 */
export async function serveReplicas(input: ServeInput): Promise<void> {
  const { env, signal, places } = input;
  const replicas = new ReplicaSet(input);
  try {
    if (places.kind === "file") openFirst(places.path, replicas);
    const server = listen(input, new Answers(replicas, input));
    input.onListening?.(server.port);
    try {
      while (!signal.aborted) {
        await env.sleep(POLL_MS, signal);
        replicas.poll();
      }
    } finally {
      server.close();
    }
  } finally {
    await replicas.close();
  }
}

/** Opens the existing file of `--db`. @throws WalrustError code "database" when it is no such replica */
function openFirst(path: string, replicas: ReplicaSet): void {
  const name = recordedNameOrNull(path);
  if (name !== null) return replicas.served(name).replica.open();
  if (!existsSync(path)) return;
  throw new WalrustError("database", `${path} is no replica that walrust serve has made`, {
    hint: "Give another --db, or move the file away with its -wal, -shm and -replica-state",
    context: { path },
  });
}

function listen(input: ServeInput, answers: Answers): HttpReceiver {
  const { hostname, port } = input;
  try {
    const headers = { [INSTANCE_HEADER]: randomTag() };
    return receiveHttp({ ...input, headers }, answers);
  } catch (error) {
    const reason = systemCode(error) ?? errorMessage(error);
    throw new WalrustError("usage", `Cannot listen on ${hostname}:${port}: ${reason}`, {
      hint: "Give another --port or --address, or check the certificate",
      cause: error,
    });
  }
}

/** A replica, and how many pushes had each outcome. */
interface ServedReplica {
  readonly replica: PushedReplica;
  readonly outcomes: Map<string, number>;
}

/** The replicas of one server by name; opened when somebody pushes to them. */
class ReplicaSet {
  readonly #replicas = new Map<string, ServedReplica>();

  constructor(readonly input: ServeInput) {}

  get all(): Iterable<ServedReplica> {
    return this.#replicas.values();
  }

  /** The replica of a name. @throws WalrustError code "usage" when the name has no place */
  served(name: string): ServedReplica {
    const known = this.#replicas.get(name);
    if (known !== undefined) return known;
    const path = placeOf(this.input.places, name, [...this.#replicas.keys()]);
    const served = { replica: new PushedReplica(name, path, this.input), outcomes: new Map() };
    this.#replicas.set(name, served);
    return served;
  }

  /** Forgets a name without a replica: names of requests must not fill the memory. */
  forgetIfEmpty(name: string): void {
    const served = this.#replicas.get(name);
    if (served === undefined || !served.replica.isEmpty) return;
    this.#replicas.delete(name);
    void served.replica.close();
  }

  poll(): void {
    for (const { replica } of this.all) replica.poll();
  }

  async close(): Promise<void> {
    await Promise.all([...this.all].map(({ replica }) => replica.close()));
  }
}

/** A body on its way, and the request it belongs to. */
class PushBody extends ReceivedBody {
  readonly #arrived: () => void;

  constructor(
    sizeBytes: number,
    filePath: string,
    readonly served: ServedReplica,
    readonly route: PushRoute & { readonly kind: "object" },
    readonly metadata: ObjectMetadata,
    readonly onClose: () => void,
  ) {
    super(sizeBytes, filePath);
    this.#arrived = served.replica.expect();
  }

  override close(): void {
    super.close();
    this.#arrived();
    this.onClose();
  }
}

/** Answers the requests of one server. */
class Answers {
  readonly #startedMs: number;

  constructor(
    readonly replicas: ReplicaSet,
    readonly input: ServeInput,
  ) {
    this.#startedMs = input.env.monotonicMs();
  }

  get env(): Env {
    return this.input.env;
  }

  admit(head: RequestHead): HttpReply | PushBody | null {
    try {
      return this.#admit(head);
    } catch (error) {
      return errorReply(error);
    }
  }

  async answer(head: RequestHead, body: PushBody | null): Promise<HttpReply> {
    try {
      return body === null ? this.#page(head) : await this.#put(body);
    } catch (error) {
      return errorReply(error);
    }
  }

  #admit(head: RequestHead): HttpReply | PushBody | null {
    const { method, path, headers, bodyBytes } = head;
    const isOpen = this.input.token?.isIn(headers.get("authorization")) ?? true;
    const isProbe = path === HEALTH_PATH && bodyBytes === 0;
    if (!isOpen && !isProbe)
      return { ...plainReply(401), headers: { "www-authenticate": 'Bearer realm="walrust"' } };
    const route = parsePushPath(path);
    const isPage = route?.kind === "position" || path === HEALTH_PATH || path === "/metrics";
    if (isPage && (method === "GET" || method === "HEAD")) return bodyBytes > 0 ? plainReply(413) : null;
    if (route === null) return plainReply(404);
    if (route.kind !== "object" || method !== "PUT") return plainReply(405);
    const served = this.replicas.served(route.name);
    served.replica.open();
    const early = served.replica.refusedEarly(route.object);
    if (early !== null) return this.#replyOf(served, early);
    if (bodyBytes < LTX_SIZE_MIN)
      return this.#replyOf(served, { refused: "unsound", message: `an LTX file has ${LTX_SIZE_MIN} bytes` });
    const folder = bodyFolderOf(this.input.places);
    const forget = (): void => this.replicas.forgetIfEmpty(route.name);
    if (diskRoomOf(folder).freeBytes < bodyBytes + RESERVE_BYTES / 4) {
      forget();
      return plainReply(507);
    }
    const filePath = `${folder}/.walrust-push`;
    return new PushBody(bodyBytes, filePath, served, route, metadataOf(headers), forget);
  }

  async #put(body: PushBody): Promise<HttpReply> {
    const { served, route, metadata } = body;
    return this.#replyOf(served, await served.replica.put(route.object, metadata, body));
  }

  #replyOf(served: ServedReplica, outcome: PushOutcome): HttpReply {
    const { replica, outcomes } = served;
    const word = outcome?.refused ?? "applied";
    outcomes.set(word, (outcomes.get(word) ?? 0) + 1);
    const { refused = null, message = null } = outcome ?? {};
    const body = encodePushReply({ position: replica.position(), refused, message });
    this.replicas.forgetIfEmpty(replica.name);
    return { status: refused === null ? 200 : STATUSES[refused], body, contentType: "application/json" };
  }

  #page({ path, headers }: RequestHead): HttpReply {
    const { token, version } = this.input;
    const uptimeMs = this.env.monotonicMs() - this.#startedMs;
    const facts = { version, uptimeMs, replicas: [...this.replicas.all] };
    if (path === "/metrics") return metricsPage(facts);
    if (path === HEALTH_PATH) return healthPage(facts, token?.isIn(headers.get("authorization")) ?? true);
    const route = parsePushPath(path);
    if (route?.kind !== "position") return plainReply(404);
    const { replica } = this.replicas.served(route.name);
    replica.open();
    const body = encodePushReply({ position: replica.position(), refused: null, message: null });
    this.replicas.forgetIfEmpty(route.name);
    return { status: 200, body, contentType: "application/json" };
  }
}

function metadataOf(headers: ReadonlyMap<string, string>): ObjectMetadata {
  const metadata: Record<string, string> = {};
  for (const [name, value] of headers)
    if (name.startsWith(METADATA_HEADER)) metadata[name.slice(METADATA_HEADER.length)] = value;
  assertObjectMetadata(metadata);
  return metadata;
}

/** The answer to a request that failed before an object was judged. */
function errorReply(error: unknown): HttpReply {
  const { code, message } = asWalrustError(error);
  const status = code === "usage" ? 404 : code === "storage" ? 400 : code === "internal" ? 500 : 503;
  return { status, body: `${message}\n` };
}
