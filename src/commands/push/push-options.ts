/**
 * The push replicas of a watch, by its flags `--push-to`, `--push-token-file`, `--push-ca-file` and `--ack`.
 */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { resolveOptions } from "../../config/resolve.ts";
import { PUSH_OPTIONS } from "../../config/settings/options.ts";
import { RETENTION_OPTIONS, STORE_OPTIONS, SYNC_OPTIONS } from "../../config/settings/settings.ts";
import { WalrustError } from "../../errors.ts";
import { stateHomeOf } from "../../local/places.ts";
import type { WatchEvent } from "../../replication/context/watch-events.ts";
import { type PushPeerOptions, parsePushUrl } from "../../replication/push/push-peer.ts";
import { PushReplicas } from "../../replication/push/push-replicas.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { readTokenFile } from "../../storage/network/access-token.ts";
import { isLoopback } from "../../storage/network/loopback.ts";
import { readTlsTrust } from "../../storage/network/tls-trust.ts";
import { localPlaces } from "../shared/local-places.ts";
import { type Invocation, settingsOf } from "../shared/verb.ts";

/** The folder of the state home that stands for a bucket. */
const FOLDER = "push-bucket";

/**
 * Gives a watch with `--push-to` and without a bucket a folder of the state home for its history: replicas
 * that were away get from there what they miss. Only the newest two snapshots and what follows them stay,
 * unless the retention is set.
 */
export function withPushBucket(invocation: Invocation): Invocation {
  const { sources, words } = invocation;
  const { pushTo } = settingsOf(invocation, PUSH_OPTIONS);
  const isAlone = pushTo.length > 0 && resolveOptions(sources, STORE_OPTIONS).bucket.value === undefined;
  if (!isAlone) return invocation;
  const folder = join(stateHomeOf(localPlaces(invocation).choice), FOLDER);
  const more: [string, string | boolean][] = [[STORE_OPTIONS.bucket.flag, pathToFileURL(folder).href]];
  const retention = Object.values(resolveOptions(sources, RETENTION_OPTIONS));
  const isByDefault = retention.every(({ origin }) => origin.kind === "default");
  if (isByDefault) {
    more.push([SYNC_OPTIONS.compactAfterSnapshot.flag, true]);
    for (const { flag } of Object.values(RETENTION_OPTIONS)) more.push([flag, "0"]);
  }
  const extended = { ...words, given: new Map([...words.given, ...more]) };
  return { ...invocation, words: extended, sources: { ...sources, words: extended } };
}

/**
 * The replica servers of a watch.
 * @throws WalrustError code "usage" or "config"
 */
export function pushPeersOf(invocation: Invocation): readonly PushPeerOptions[] {
  const { env } = invocation;
  const { pushTo, pushTokenFile, pushCaFile, ack } = settingsOf(invocation, PUSH_OPTIONS);
  if (pushTo.length === 0) {
    if (pushTokenFile === undefined && pushCaFile === undefined && !ack) return [];
    throw new WalrustError("usage", "There is no push replica", {
      hint: "Name its server with --push-to URL",
    });
  }
  const token = pushTokenFile === undefined ? null : readTokenFile(pushTokenFile);
  const trust = readTlsTrust(pushCaFile, invocation.sources.environment);
  const urls = new Map(pushTo.map(parsePushUrl).map((url) => [url.origin, url]));
  for (const { protocol, hostname, origin } of urls.values()) {
    const isOpen = protocol === "http:" && !isLoopback(hostname.replace(/^\[(.*)\]$/, "$1"));
    if (isOpen)
      env.log.warn(`commits travel to ${origin} unencrypted`, { hint: "Use https, with --tls-cert" });
  }
  return [...urls.values()].map((url) => ({ url, token, trust }));
}

/**
 * Makes the pushes; null without a replica server.
 * @param store the bucket, which a replica that is far behind gets its objects from
 */
export function pushReplicasOrNull(
  peers: readonly PushPeerOptions[],
  store: ObjectStore,
  invocation: Invocation,
  emit: (event: WatchEvent) => void,
): PushReplicas | null {
  if (peers.length === 0) return null;
  const { env, version } = invocation;
  const { ack } = settingsOf(invocation, PUSH_OPTIONS);
  const onAcknowledged = (database: string, replica: string, txid: number): void => {
    if (ack) emit({ event: "acknowledged", database, replica, txid });
  };
  return new PushReplicas({ peers, store, env, version, onAcknowledged });
}
