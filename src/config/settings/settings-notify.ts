/**
 * The table of settings, continued: who is told how the watch fares, and the databases themselves.
 */
import { group } from "./option-spec.ts";

/** [metrics]: the HTTP server of `watch`. */
export const METRICS_OPTIONS = group({
  enabled: {
    flag: "no-metrics",
    isNegative: true,
    key: "metrics.enabled",
    kind: "switch",
    default: true,
    meaning: "Serve /metrics and /health while watching",
  },
  port: {
    flag: "metrics-port",
    key: "metrics.port",
    kind: "count",
    value: "PORT",
    default: 16_767,
    max: 65_535,
    meaning: "Port of /metrics and /health; 0: any that is free",
  },
  address: {
    key: "metrics.address",
    kind: "text",
    default: "127.0.0.1",
    meaning: "Address they listen on; there is no authentication",
  },
});

/** [heartbeat]: a URL that is called while all is well. */
export const HEARTBEAT_OPTIONS = group({
  url: {
    key: "heartbeat.url",
    kind: "text",
    isPrivateUrl: true,
    meaning: "Called with GET while every database is replicated in time",
  },
  intervalMs: {
    key: "heartbeat.interval",
    kind: "seconds",
    default: 60,
    min: 1,
    max: 86_400,
    meaning: "How often it is called",
  },
  maxLagMs: {
    key: "heartbeat.max_lag",
    kind: "seconds",
    default: 60,
    min: 1,
    max: 86_400,
    meaning: "Not called while the oldest commit that is not in the bucket is older than this",
  },
});

/** What a webhook can be told of. */
export const WEBHOOK_EVENTS = [
  "sync_failed",
  "auth_failure",
  "corruption_detected",
  "circuit_breaker_open",
] as const;

/** [[webhooks]]: one entry a receiver. */
export const WEBHOOK_OPTIONS = group({
  url: {
    key: "webhooks.url",
    kind: "text",
    isPrivateUrl: true,
    meaning: "Where failures are posted to as JSON (required)",
  },
  events: {
    key: "webhooks.events",
    kind: "texts",
    default: WEBHOOK_EVENTS,
    choices: WEBHOOK_EVENTS,
    countMax: WEBHOOK_EVENTS.length,
    meaning: "Which; the end of a failure is told too",
  },
  secret: {
    key: "webhooks.secret",
    kind: "text",
    isSecret: true,
    meaning: "Signs each body: X-Walrust-Signature: sha256=HMAC",
  },
});

/** [[databases]]: one entry a database or a glob. Its other keys override those of the sections. */
export const DATABASE_OPTIONS = group({
  path: {
    key: "databases.path",
    kind: "text",
    meaning: "A database, or a glob that is looked at again every 5 s (required)",
  },
  name: {
    key: "databases.name",
    kind: "text",
    meaning: "What it is called in the bucket; by itself: the file stem",
  },
  prefix: {
    key: "databases.prefix",
    kind: "text",
    meaning: "A folder in the bucket that stands before the name",
  },
  allowEmpty: {
    key: "databases.allow_empty",
    kind: "switch",
    default: false,
    meaning: "The glob may match nothing at start",
  },
});
