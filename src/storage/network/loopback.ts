/**
 * PURE: whether an address leads to this machine alone. Without node:net, whose `isIP` costs 2.5 MB of
 * memory.
 */

/** Whether a host name or address, without brackets, is loopback. */
export function isLoopback(hostname: string): boolean {
  if (hostname === "localhost" || hostname === "::1") return true;
  return /^127(\.\d{1,3}){3}$/.test(hostname);
}
