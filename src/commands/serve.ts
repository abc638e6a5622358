/**
 * `walrust serve`: read replicas that a watch pushes captured files to.
 */
import { readFileSync, statSync } from "node:fs";
import { resolveOptions } from "../config/resolve.ts";
import { SERVE_OPTIONS } from "../config/settings/options.ts";
import { STORE_OPTIONS } from "../config/settings/settings.ts";
import type { Log } from "../env.ts";
import { errorMessage, systemCode, WalrustError } from "../errors.ts";
import type { ReplicaEvent } from "../recovery/replica/replica-file.ts";
import type { ReplicaPlaces } from "../recovery/serve/replica-places.ts";
import { serveReplicas } from "../recovery/serve/serve-replicas.ts";
import type { ObjectStore } from "../storage/contract/store.ts";
import { AccessToken, readTokenFile } from "../storage/network/access-token.ts";
import { isLoopback } from "../storage/network/loopback.ts";
import { ReachabilityMonitor } from "../storage/network/reachability-monitor.ts";
import type { ServeDocument } from "./shared/documents.ts";
import { integrityChecker } from "./shared/integrity.ts";
import { openDestination, warningSink } from "./shared/open-destination.ts";
import { countOf, formatBytes, printEvent } from "./shared/output.ts";
import { type Invocation, settingsOf, type Verb } from "./shared/verb.ts";

/** The verb `serve`. */
export const serveVerb: Verb = {
  name: "serve",
  summary: "Keep local read replicas that watches push captured commits to",
  usage: "(--db PATH | --dir DIR) [-b URL]",
  options: [SERVE_OPTIONS, STORE_OPTIONS],
  positionals: { name: "", min: 0, max: 0, meaning: "" },
  examples: [
    ["walrust serve --db replica.db", "one replica, at http://127.0.0.1:8080 for a watch on this machine"],
    ["walrust serve --dir /var/lib/replicas --port 9000", "a replica of each database that is pushed"],
    ["walrust serve --db replica.db -b s3://my-bucket/vm1", "fill gaps from the bucket"],
    [
      "walrust serve --db r.db --address 0.0.0.0 --token-file t --tls-cert c.pem --tls-key k.pem",
      "for watches on other machines",
    ],
  ],
  exitCodes: [
    [0, "stopped by SIGINT, SIGTERM or SIGHUP"],
    [2, "usage or configuration: a bad value, no --token-file beyond this machine, or the port is taken"],
    [3, "PATH is no replica of walrust serve, or another process has it"],
  ],
  savesMemory: true,
  run,
};

async function run(invocation: Invocation): Promise<number> {
  const { env, signal, isJson, version } = invocation;
  const { port, address, tokenFile, tlsCert, tlsKey, ...given } = settingsOf(invocation, SERVE_OPTIONS);
  const places = placesOf(given);
  const hostname = address.replace(/^\[(.*)\]$/, "$1");
  const token = tokenFile === undefined ? null : new AccessToken(readTokenFile(tokenFile));
  if (token === null && !isLoopback(hostname)) {
    throw new WalrustError(
      "usage",
      `Other machines may reach ${address}, and no token protects the replicas`,
      {
        hint: "Give --token-file, or listen on 127.0.0.1",
      },
    );
  }
  const tls = tlsOf(tlsCert, tlsKey);
  if (token !== null && tls === undefined && !isLoopback(hostname)) {
    env.log.warn("the token and the commits travel unencrypted", { hint: "Give --tls-cert and --tls-key" });
  }
  const store = storeOrNull(invocation);
  const emit = (name: string, event: ReplicaEvent): void => {
    if (isJson) printEvent(serveDocument(name, event, env.nowMs()), env.log);
    else logEvent(name, event, env.log);
  };
  const onListening = (taken: number): void => {
    const host = hostname.includes(":") ? `[${hostname}]` : hostname;
    const url = `http${tls === undefined ? "" : "s"}://${host}:${taken}`;
    if (isJson) printEvent({ event: "serving", url, at: new Date(env.nowMs()).toISOString() }, env.log);
    else env.log.info(`replicas at ${places.path}: push to ${url}`);
  };
  const served = { places, hostname, port, tls, token, version, onListening };
  const context = { store, env, signal, emit, checker: integrityChecker() };
  try {
    await serveReplicas({ ...served, ...context });
    return 0;
  } finally {
    await store?.close();
  }
}

/** @throws WalrustError code "usage" without exactly one of the two, or when the folder is missing */
function placesOf({ db, dir }: { readonly db?: string | undefined; readonly dir?: string | undefined }) {
  if ((db === undefined) === (dir === undefined)) {
    const message = db === undefined ? "No place for replicas is given" : "--db and --dir are both given";
    throw new WalrustError("usage", message, {
      hint: "Give --db PATH for one replica, or --dir DIR for many",
    });
  }
  const places: ReplicaPlaces =
    db !== undefined ? { kind: "file", path: db } : { kind: "folder", path: dir as string };
  if (places.kind === "folder" && statSync(places.path, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new WalrustError("usage", `${places.path} is no folder`, { hint: "Make the folder first" });
  }
  return places;
}

function tlsOf(certFile: string | undefined, keyFile: string | undefined) {
  if (certFile === undefined && keyFile === undefined) return undefined;
  if (certFile === undefined || keyFile === undefined) {
    throw new WalrustError("usage", "--tls-cert and --tls-key belong together", { hint: "Give both" });
  }
  return { cert: readPem(certFile, "--tls-cert"), key: readPem(keyFile, "--tls-key") };
}

function readPem(path: string, flag: string): string {
  try {
    const text = readFileSync(path, "latin1");
    if (/-----BEGIN [A-Z ]+-----/.test(text)) return text;
    throw new Error("it has no PEM block");
  } catch (error) {
    const reason = systemCode(error) ?? errorMessage(error);
    throw new WalrustError("config", `Cannot use ${path} of ${flag}: ${reason}`, { cause: error });
  }
}

/** The bucket that gaps are filled from; only if it is given, because a replica works without. */
function storeOrNull(invocation: Invocation): ObjectStore | null {
  const { sources, env } = invocation;
  if (resolveOptions(sources, STORE_OPTIONS).bucket.value === undefined) return null;
  return openDestination(invocation, {
    reachability: new ReachabilityMonitor(env, warningSink(env.log), true),
  });
}

/** An event as its JSON document. @param nowMs the wall clock */
export function serveDocument(database: string, event: ReplicaEvent, nowMs: number): ServeDocument {
  const { event: name, txid, ...rest } = event;
  const facts: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(rest)) {
    if (key === "timeMs") facts["time"] = new Date(value as number).toISOString();
    else facts[key === "fromTxid" ? "from_txid" : key] = value;
  }
  const at = new Date(nowMs).toISOString();
  return { event: name, database, txid, ...facts, at } as unknown as ServeDocument;
}

function logEvent(database: string, event: ReplicaEvent, log: Log): void {
  switch (event.event) {
    case "following":
      return log.info(`at TXID ${event.txid} of ${new Date(event.timeMs).toISOString()}`, { database });
    case "bootstrapped":
      return log.info(
        `restored TXID ${event.txid} from ${countOf(event.objects, "object")} (${formatBytes(event.bytes)})`,
        { database },
      );
    case "applied":
      return log.debug(`applied TXID ${event.txid} of ${new Date(event.timeMs).toISOString()}`, { database });
    default:
      // recovery/replica and recovery/serve log failures and waits, with their reasons.
      return;
  }
}
