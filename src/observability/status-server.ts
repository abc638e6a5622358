/**
 * The HTTP server for who watches the watcher: /metrics, /health, and an index of the two. It only reads, has
 * no authentication and shows nothing secret; by default only this machine can reach it.
 *
 * It never keeps watch from running: without its port there is a warning and no server until the port can be
 * had, which is tried quietly.
 */
import type { Env } from "../env.ts";
import { errorMessage, systemCode } from "../errors.ts";
import type { HealthReport } from "./health.ts";
import { PROMETHEUS_CONTENT_TYPE } from "./prometheus.ts";

const INDEX = "walrust\n/metrics  for Prometheus\n/health   as JSON: 200, or 503 when unhealthy\n";
/** Between two tries to get the port: another walrust may end. */
const AGAIN_MS = 30_000;
/** Nobody has reason to send a body. */
const BODY_SIZE_MAX = 1024;

/** Where to listen. */
export interface MetricsOptions {
  /** 0: any port that is free. */
  readonly port: number;
  readonly address: string;
}

/** What is shown, made anew for each request. */
export interface StatusPages {
  metrics(): string;
  health(): HealthReport;
}

/** A running server. */
export interface StatusServer {
  /** `http://address:port`, without a slash at the end. */
  readonly url: string;
  /** Ends it and breaks open connections. */
  close(): Promise<void>;
}

/** A status server that comes when its address can be had. */
export class LastingStatusServer {
  #server: StatusServer | null;
  readonly #end = new AbortController();
  readonly #trying: Promise<void>;

  /** Starts it, or warns once and tries on. */
  constructor(
    readonly options: MetricsOptions,
    readonly pages: StatusPages,
    readonly env: Env,
  ) {
    this.#server = startStatusServer(options, pages, env);
    this.#trying = this.#tryOn();
  }

  /** Where it is, or null while it has no port. */
  get url(): string | null {
    return this.#server?.url ?? null;
  }

  /** Ends it, or the trying. */
  async close(): Promise<void> {
    this.#end.abort();
    await this.#trying;
    await this.#server?.close();
  }

  async #tryOn(): Promise<void> {
    const { signal } = this.#end;
    while (this.#server === null) {
      await this.env.sleep(AGAIN_MS, signal);
      if (signal.aborted) return;
      this.#server = startStatusServer(this.options, this.pages, this.env, true);
    }
  }
}

/**
 * Starts the server, or gives null when the address cannot be had.
 * @param isQuiet without a warning then
 */
export function startStatusServer(
  { address, port }: MetricsOptions,
  pages: StatusPages,
  env: Env,
  isQuiet = false,
): StatusServer | null {
  const hostname = address.replace(/^\[(.*)\]$/, "$1");
  try {
    const server = Bun.serve({
      hostname,
      port,
      development: false,
      // Without this Bun shares the port with any other process of ours that has it, as soon as
      // development is false: two walrusts would answer in turn.
      reusePort: false,
      maxRequestBodySize: BODY_SIZE_MAX,
      fetch: (request) => answer(request, pages, env),
    });
    const host = hostname.includes(":") ? `[${hostname}]` : hostname;
    const url = `http://${host}:${server.port}`;
    env.log.info(`metrics at ${url}/metrics, health at ${url}/health`);
    if (!isLoopback(hostname)) {
      env.log.warn(`metrics have no authentication, and ${address} can be reached from other machines`, {
        hint: "Keep it behind a firewall, or set [metrics] address = 127.0.0.1.",
      });
    }
    return { url, close: () => server.stop(true) };
  } catch (error) {
    if (!isQuiet) env.log.warn(...whyNot(error, address, port));
    return null;
  }
}

function answer(request: Request, pages: StatusPages, env: Env): Response {
  const { pathname } = new URL(request.url);
  const page = PAGES[pathname];
  if (page === undefined) return plainText("not found\n", 404);
  if (request.method !== "GET" && request.method !== "HEAD") {
    return plainText("only GET\n", 405, { allow: "GET, HEAD" });
  }
  try {
    return page(pages);
  } catch (error) {
    env.log.error(`cannot answer ${pathname}: ${errorMessage(error)}`);
    return plainText("internal error\n", 500);
  }
}

const PAGES: Readonly<Record<string, ((pages: StatusPages) => Response) | undefined>> = {
  "/": () => plainText(INDEX, 200),
  "/metrics": (pages) => text(pages.metrics(), 200, PROMETHEUS_CONTENT_TYPE),
  "/health": (pages) => {
    const report = pages.health();
    const status = report.status === "unhealthy" ? 503 : 200;
    return text(`${JSON.stringify(report)}\n`, status, "application/json");
  },
};

function plainText(body: string, status: number, headers: Record<string, string> = {}): Response {
  return text(body, status, "text/plain; charset=utf-8", headers);
}

function text(
  body: string,
  status: number,
  contentType: string,
  headers: Record<string, string> = {},
): Response {
  return new Response(body, {
    status,
    headers: {
      ...headers,
      "content-type": contentType,
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
    },
  });
}

/** By hand: loading node:net for `isIP` takes 2.5 MB of memory. */
function isLoopback(hostname: string): boolean {
  if (hostname === "localhost" || hostname === "::1") return true;
  return /^127(\.\d{1,3}){3}$/.test(hostname);
}

/** The warning for an address that cannot be had. */
function whyNot(error: unknown, address: string, port: number): [message: string, fields: { hint: string }] {
  const code = systemCode(error);
  if (code === "EADDRINUSE") {
    const hint = "Give another one with --metrics-port, or none with --no-metrics.";
    return [`no metrics: port ${port} of ${address} is taken`, { hint }];
  }
  if (code === "EACCES") {
    const hint = "Give one above 1023 with --metrics-port.";
    return [`no metrics: this user may not listen on port ${port}`, { hint }];
  }
  const hint = "Set [metrics] address to 127.0.0.1, or to an address of this machine.";
  return [`no metrics: cannot listen on ${address} (${code ?? errorMessage(error)})`, { hint }];
}
