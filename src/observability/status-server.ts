/**
 * Serves /metrics, /health and the dashboard over HTTP. The server only reads, has no authentication and
 * shows no secrets; by default only this machine can reach it.
 *
 * A port that is taken never stops the watch: a warning is logged, and the port is tried again quietly.
 */
import { hostname } from "node:os";
import type { MetricsConfig } from "../config/config.ts";
import type { Env } from "../env.ts";
import { errorMessage, systemCode } from "../errors.ts";
import { isLoopback } from "../storage/network/loopback.ts";
import type { DashboardDocument } from "./dashboard/dashboard-document.ts";
import type { HealthReport } from "./health.ts";
import { type HttpAnswer, type HttpRequest, hostName, listenHttp } from "./status-http.ts";
import { jsonLine } from "./terminal-text.ts";

/** Time between two tries to listen: another walrust may have ended. */
const AGAIN_MS = 30_000;
/** The address to listen on; port 0: any free port. */
export type StatusAddress = Pick<MetricsConfig, "address" | "port">;

/** The metrics in one of their formats. */
export interface MetricsPage {
  readonly body: string | Iterable<string>;
  readonly contentType: string;
}

/** The pages, made anew for each request. */
export interface StatusPages {
  /** @param accept the media types that the reader accepts, or null for any */
  metrics(accept: string | null): MetricsPage;
  health(): HealthReport;
  /** The document of the page at `/`. Loads its code with the first call. */
  dashboard(): Promise<DashboardDocument>;
}

/** A running server. */
export interface StatusServer {
  /** `http://address:port`, without a slash at the end. */
  readonly url: string;
  /** Stops the server and breaks open connections. */
  close(): Promise<void>;
}

/** A status server that starts as soon as it can listen on its address. */
export class LastingStatusServer {
  #server: StatusServer | null;
  readonly #end = new AbortController();
  readonly #trying: Promise<void>;

  /** Starts the server, or warns once and tries again. */
  constructor(
    readonly address: StatusAddress,
    readonly pages: StatusPages,
    readonly env: Env,
  ) {
    this.#server = startStatusServer(address, pages, env);
    this.#trying = this.#tryOn();
  }

  /** URL of the server, or null while it has no port. */
  get url(): string | null {
    return this.#server?.url ?? null;
  }

  /** Stops the server, or stops trying. */
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
      this.#server = startStatusServer(this.address, this.pages, this.env, true);
    }
  }
}

/**
 * Starts the server. Null: it cannot listen on the address.
 * @param isQuiet log no warning
 */
export function startStatusServer(
  { address, port }: StatusAddress,
  pages: StatusPages,
  env: Env,
  isQuiet = false,
): StatusServer | null {
  const listening = address.replace(/^\[(.*)\]$/, "$1");
  try {
    const answers = new Answers(listening, pages, env);
    const server = listenHttp({ hostname: listening, port }, (request) => answers.to(request), env);
    const host = listening.includes(":") ? `[${listening}]` : listening;
    const url = `http://${host}:${server.port}`;
    env.log.info(`dashboard at ${url}, metrics at ${url}/metrics, health at ${url}/health`);
    if (!isLoopback(listening)) {
      env.log.warn(`metrics have no authentication, and ${address} can be reached from other machines`, {
        hint: "Keep the port behind a firewall, or set [metrics] address = 127.0.0.1",
      });
    }
    return { url, close: async () => server.close() };
  } catch (error) {
    if (!isQuiet) env.log.warn(...listenWarning(error, address, port));
    return null;
  }
}

/** The answers of one server. */
class Answers {
  /** Paths whose page failed, each logged once until the page succeeds. */
  readonly #failing = new Set<string>();

  /** @param hostname the address that the server listens on */
  constructor(
    readonly hostname: string,
    readonly pages: StatusPages,
    readonly env: Env,
  ) {}

  to({ method, path, host, accept }: HttpRequest): HttpAnswer | Promise<HttpAnswer> {
    if (!isOurs(host, this.hostname)) return text("this server has another name\n", 421);
    const page = Object.hasOwn(PAGES, path) ? PAGES[path] : undefined;
    if (page === undefined) return text("not found\n", 404);
    if (method !== "GET" && method !== "HEAD") return text("only GET\n", 405, { allow: "GET, HEAD" });
    try {
      const answer = page(this.pages, accept);
      if (!(answer instanceof Promise)) return this.#made(path, answer);
      return answer.then(
        (late) => this.#made(path, late),
        (error) => this.#failed(path, error),
      );
    } catch (error) {
      return this.#failed(path, error);
    }
  }

  #made(path: string, answer: HttpAnswer): HttpAnswer {
    if (typeof answer.body !== "string") return { ...answer, body: this.#reported(path, answer.body) };
    this.#failing.delete(path);
    return answer;
  }

  /** A body in parts, whose failure is logged and then breaks the connection. */
  *#reported(path: string, parts: Iterable<string>): Generator<string> {
    try {
      yield* parts;
      this.#failing.delete(path);
    } catch (error) {
      this.#failed(path, error);
      throw error;
    }
  }

  #failed(path: string, error: unknown): HttpAnswer {
    if (!this.#failing.has(path)) this.env.log.error(`cannot answer ${path}: ${errorMessage(error)}`);
    this.#failing.add(path);
    return text("internal error\n", 500);
  }
}

/**
 * Whether a request is meant for this server. A web page in a browser can reach loopback under a name of its
 * own (DNS rebinding), so a server on loopback answers only to addresses and to names of this machine.
 */
function isOurs(host: string | null, listening: string): boolean {
  if (host === null) return true;
  const name = hostName(host);
  if (name === null) return false;
  const isAddress = name.includes(":") || /^\d{1,3}(\.\d{1,3}){3}$/.test(name);
  if (isAddress || !isLoopback(listening)) return true;
  return name === "localhost" || name.endsWith(".localhost") || name === hostname().toLowerCase();
}

type Page = (pages: StatusPages, accept: string | null) => HttpAnswer | Promise<HttpAnswer>;

const PAGES: Readonly<Record<string, Page>> = {
  "/": async () => {
    const { DASHBOARD_PAGE, DASHBOARD_HEADERS } = await import("./dashboard/dashboard-page.ts");
    return text(DASHBOARD_PAGE, 200, DASHBOARD_HEADERS);
  },
  "/dashboard.json": async (pages) => json(await pages.dashboard(), 200),
  "/metrics": (pages, accept) => {
    const { body, contentType } = pages.metrics(accept);
    return text(body, 200, { "content-type": contentType, vary: "accept" });
  },
  "/health": (pages) => {
    const report = pages.health();
    return json(report, report.status === "unhealthy" ? 503 : 200);
  },
};

function json(value: unknown, status: number): HttpAnswer {
  return text(`${jsonLine(value)}\n`, status, { "content-type": "application/json" });
}

function text(body: HttpAnswer["body"], status: number, headers: Record<string, string> = {}): HttpAnswer {
  const always = {
    "content-type": "text/plain; charset=utf-8",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    // No page of another origin gets the answer, in whatever element.
    "cross-origin-resource-policy": "same-origin",
  };
  return { status, headers: { ...always, ...headers }, body };
}

/** The warning when the server cannot listen. */
function listenWarning(
  error: unknown,
  address: string,
  port: number,
): [message: string, fields: { hint: string }] {
  const code = systemCode(error);
  if (code === "EADDRINUSE") {
    const hint = "Choose another port with --metrics-port, or switch the server off with --no-metrics";
    return [`no metrics: port ${port} of ${address} is taken`, { hint }];
  }
  if (code === "EACCES") {
    const hint = "Choose a port above 1023 with --metrics-port";
    return [`no metrics: this user may not listen on port ${port}`, { hint }];
  }
  const hint = "Set [metrics] address to 127.0.0.1, or to an address of this machine";
  return [`no metrics: cannot listen on ${address} (${code ?? errorMessage(error)})`, { hint }];
}
