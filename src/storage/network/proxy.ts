/**
 * Finds the proxy of the environment that fetch uses for a URL, so that errors can name the proxy. Bun
 * applies the same rules by itself: HTTP_PROXY, HTTPS_PROXY and ALL_PROXY in either case, and NO_PROXY.
 * See https://bun.com/docs/runtime/networking/fetch#proxying-requests.
 */
import { BlockList, isIP } from "node:net";

type Environment = Readonly<Record<string, string | undefined>>;

/** A proxy. */
export interface ForwardProxy {
  /** Scheme, host and port, without user and password. */
  readonly shown: string;
  /** The environment variable that names it. */
  readonly variable: string;
}

/** The proxy on the way to the host of `url`, or null. */
export function proxyOrNull(url: URL, environment: Environment): ForwardProxy | null {
  const own = url.protocol === "https:" ? "https_proxy" : "http_proxy";
  for (const name of [own, "all_proxy"]) {
    for (const variable of [name, name.toUpperCase()]) {
      const text = environment[variable] ?? "";
      if (text === "") continue;
      const proxy = URL.canParse(text) ? new URL(text) : null;
      if (proxy === null || !/^https?:$/.test(proxy.protocol)) continue;
      if (isBypassed(url, environment)) return null;
      return { shown: `${proxy.protocol}//${proxy.host}`, variable };
    }
  }
  return null;
}

/** A proxy, as the end of an error message. */
export function throughProxy({ shown, variable }: ForwardProxy): string {
  return `through the proxy ${shown} (${variable})`;
}

function isBypassed(url: URL, environment: Environment): boolean {
  const list = environment["no_proxy"] || environment["NO_PROXY"] || "";
  const host = url.hostname.replace(/^\[|\]$/g, "").toLowerCase();
  const port = url.port || (url.protocol === "https:" ? "443" : "80");
  return list
    .toLowerCase()
    .split(/[\s,]+/)
    .some((entry) => entry !== "" && isMatch(entry, host, port));
}

function isMatch(entry: string, host: string, port: string): boolean {
  if (entry === "*") return true;
  const bare = entry.replace(/^\[([^\]]*)\]$/, "$1");
  if (isIP(bare) !== 0) return bare === host;
  if (entry.includes("/")) return isInBlock(entry, host);
  const withPort = /^(.+):(\d+)$/.exec(entry);
  if (withPort !== null && withPort[2] !== port) return false;
  const name = (withPort?.[1] ?? entry).replace(/^\*?\./, "").replace(/^\[([^\]]*)\]$/, "$1");
  return host === name || host.endsWith(`.${name}`);
}

function isInBlock(entry: string, host: string): boolean {
  const [network = "", bits = ""] = entry.split("/");
  const version = isIP(network);
  if (version === 0 || isIP(host) !== version || !/^\d{1,3}$/.test(bits)) return false;
  if (Number(bits) > (version === 4 ? 32 : 128)) return false;
  const family = version === 4 ? "ipv4" : "ipv6";
  const block = new BlockList();
  block.addSubnet(network, Number(bits), family);
  return block.check(host, family);
}
