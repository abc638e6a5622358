/**
 * Sends the requests of the AWS SDK's credential chain with fetch, so that they use the proxies of the
 * environment, trust the authorities of AWS_CA_BUNDLE and always verify certificates. The SDK's own handler
 * does none of that.
 *
 * It supports only the requests of the chain: small ones with a text body, and small answers.
 */
import type { TlsTrust } from "../network/tls-trust.ts";

/** The longest time of a request: a chain asks several places one after the other. */
const LIMIT_MS = 10_000;

/** A request as the SDK hands it over. */
interface SdkRequest {
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number;
  readonly path: string;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, string | readonly string[] | null>>;
  readonly body?: unknown;
}

/** An answer as the SDK expects it. */
interface SdkAnswer {
  readonly response: {
    readonly statusCode: number;
    readonly reason: string;
    readonly headers: Record<string, string>;
    readonly body: ReadableStream<Uint8Array>;
  };
}

/** A request handler for clients of the SDK. */
export function sdkRequestHandler(trust: TlsTrust) {
  return {
    async handle(request: SdkRequest): Promise<SdkAnswer> {
      const response = await fetch(urlOf(request), {
        method: request.method,
        headers: { ...request.headers },
        redirect: "manual",
        keepalive: false,
        signal: AbortSignal.timeout(LIMIT_MS),
        tls: { ...trust },
        ...(request.body === undefined ? {} : { body: request.body as string }),
      });
      return {
        response: {
          statusCode: response.status,
          reason: response.statusText,
          headers: Object.fromEntries(response.headers),
          body: response.body ?? new Blob([]).stream(),
        },
      };
    },
    updateHttpClientConfig(): void {},
    httpHandlerConfigs: () => ({}),
    destroy(): void {},
  };
}

function urlOf({ protocol, hostname, port, path, query = {} }: SdkRequest): URL {
  const url = new URL(`${protocol}//${hostname}${port === undefined ? "" : `:${port}`}${path}`);
  for (const [name, value] of Object.entries(query)) {
    for (const one of typeof value === "string" ? [value] : (value ?? [""]))
      url.searchParams.append(name, one);
  }
  return url;
}
