/**
 * Explains why a request got no answer: a certificate that cannot be verified, a proxy on the way, a server
 * that does not speak TLS, or no connection. Decides the message, the hint, and whether a retry can help.
 *
 * No message holds the password of a proxy, or the advice that fetch gives to programmers.
 */
import { errorMessage, systemCode } from "../../errors.ts";
import { type ForwardProxy, proxyOrNull, throughProxy } from "./proxy.ts";

/** The reason why there was no answer. */
export interface ConnectionProblem {
  readonly reason: string;
  readonly hint: string;
  readonly retryable: boolean;
}

const AUTHORITY_HINT =
  "For a private authority name its PEM file with ca_file in [s3], AWS_CA_BUNDLE, NODE_EXTRA_CA_CERTS or " +
  "SSL_CERT_FILE. If the store's certificate is public, something in between answers instead of the store";
const CLOCK_HINT = "Renew the server's certificate, or check the clock of this machine";
const NAME_HINT = "Check the host name in the endpoint: the certificate is for another host";
const NETWORK_HINT = "Check the network and the endpoint.";
const SCHEME_HINT = "Check the endpoint: the port may be for http://, or for another service";

/** Hints by OpenSSL's names of certificate errors. */
const CERTIFICATE_HINTS: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: CLOCK_HINT,
  CERT_NOT_YET_VALID: CLOCK_HINT,
  ERR_TLS_CERT_ALTNAME_INVALID: NAME_HINT,
  HOSTNAME_MISMATCH: NAME_HINT,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: AUTHORITY_HINT,
  UNABLE_TO_GET_ISSUER_CERT: AUTHORITY_HINT,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: AUTHORITY_HINT,
  DEPTH_ZERO_SELF_SIGNED_CERT: AUTHORITY_HINT,
  SELF_SIGNED_CERT_IN_CHAIN: AUTHORITY_HINT,
  CERT_UNTRUSTED: AUTHORITY_HINT,
  CERT_SIGNATURE_FAILURE: AUTHORITY_HINT,
  CERT_CHAIN_TOO_LONG: AUTHORITY_HINT,
  CERT_REVOKED: AUTHORITY_HINT,
  CERT_REJECTED: AUTHORITY_HINT,
  INVALID_CA: AUTHORITY_HINT,
  INVALID_PURPOSE: AUTHORITY_HINT,
  PATH_LENGTH_EXCEEDED: AUTHORITY_HINT,
};

/** The problem behind a failed fetch from `url`. */
export function connectionProblem(
  cause: unknown,
  url: URL,
  environment: Readonly<Record<string, string | undefined>>,
): ConnectionProblem {
  const code = systemCode(cause) ?? "";
  const certificateHint = CERTIFICATE_HINTS[code];
  if (certificateHint !== undefined) {
    const reason = `the certificate of ${url.host} cannot be verified: ${messageOf(cause)} (${code})`;
    return { reason, hint: certificateHint, retryable: false };
  }
  const proxy = proxyOrNull(url, environment);
  if (proxy !== null) return proxyProblem(cause, code, proxy);
  const hint = code === "EPROTO" ? SCHEME_HINT : NETWORK_HINT;
  return { reason: messageOf(cause), hint, retryable: true };
}

function proxyProblem(cause: unknown, code: string, proxy: ForwardProxy): ConnectionProblem {
  const { shown, variable } = proxy;
  const hint = `Check the proxy in ${variable}; NO_PROXY lists the hosts that are reached without one`;
  const status = Number((cause as { status?: unknown } | null)?.status);
  if (code !== "ERR_PROXY_TUNNEL" || !Number.isInteger(status)) {
    return { reason: `${messageOf(cause)} ${throughProxy(proxy)}`, hint, retryable: true };
  }
  return {
    reason: `the proxy ${shown} (${variable}) refused the connection with status ${status}`,
    hint: status === 407 ? `Give user and password in the URL in ${variable}` : hint,
    retryable: status >= 500 || status === 408 || status === 429,
  };
}

/** The message of fetch without its advice, and without the name of the code in front. */
function messageOf(cause: unknown): string {
  const message = errorMessage(cause)
    .replace(/\s*For more information, pass .*$/s, "")
    .replace(/ Is the computer able to access the url\?$/, "")
    .replace(/\.$/, "");
  const code = systemCode(cause);
  return code !== undefined && message.startsWith(`${code}: `) ? message.slice(code.length + 2) : message;
}
