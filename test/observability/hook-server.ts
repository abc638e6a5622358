/**
 * A third-party server on a loopback port: records every request, and answers as a test demands, or not at
 * all.
 */
import { eventually } from "../support/eventually.ts";

/** A received request. */
export interface ReceivedRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Headers;
  readonly body: Uint8Array;
  readonly json: Record<string, unknown>;
}

/** An answer: a status, a redirect to a path, or none. */
export type Reply = number | { readonly redirect: string } | "hang";

/** Receives webhooks and heartbeats. */
export class HookServer {
  readonly requests: ReceivedRequest[] = [];
  /** Answers to the next requests; `reply` answers the requests after them. */
  readonly script: Reply[] = [];
  reply: Reply = 200;
  readonly #server: ReturnType<typeof Bun.serve>;
  readonly #hanging: ((response: Response) => void)[] = [];

  constructor() {
    this.#server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      idleTimeout: 0,
      fetch: (request) => this.#receive(request),
    });
  }

  /** `127.0.0.1:port`. */
  get host(): string {
    return `127.0.0.1:${this.#server.port}`;
  }

  /** A URL of this server whose path, query and userinfo are secrets. */
  get secretUrl(): string {
    return `http://user:S3CRET-PASSWORD@${this.host}/S3CRET-PATH?token=S3CRET-QUERY`;
  }

  /** The `event` of each body, in the order of arrival. */
  get events(): unknown[] {
    return this.requests.map(({ json }) => json["event"]);
  }

  /** Waits until the server has received `count` requests in total. */
  async received(count: number): Promise<void> {
    await eventually(`${count} requests`, async () => this.requests.length >= count, 5_000);
  }

  /** Answers all hanging requests, then stops. */
  async close(): Promise<void> {
    for (const answer of this.#hanging.splice(0)) answer(new Response(null, { status: 200 }));
    await this.#server.stop(true);
  }

  async #receive(request: Request): Promise<Response> {
    const body = new Uint8Array(await request.arrayBuffer());
    const text = new TextDecoder().decode(body);
    const json = text === "" ? {} : (JSON.parse(text) as Record<string, unknown>);
    const { pathname } = new URL(request.url);
    this.requests.push({ method: request.method, path: pathname, headers: request.headers, body, json });
    const reply = this.script.shift() ?? this.reply;
    if (reply === "hang") return new Promise((resolve) => this.#hanging.push(resolve));
    if (typeof reply === "number") return new Response("thanks", { status: reply });
    return new Response(null, { status: 307, headers: { location: reply.redirect } });
  }
}
