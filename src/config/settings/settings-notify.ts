/**
 * The table of settings, continued: the sections of observability, and [[databases]].
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
    flagMeaning: "Do not serve /metrics and /health",
  },
  port: {
    flag: "metrics-port",
    key: "metrics.port",
    kind: "count",
    value: "PORT",
    default: 16_767,
    max: 65_535,
    meaning: "Port of the dashboard, /metrics and /health; 0: any free port",
  },
  address: {
    key: "metrics.address",
    kind: "text",
    default: "127.0.0.1",
    meaning: "Address to serve /metrics and /health on, without authentication",
  },
  perDatabase: {
    key: "metrics.per_database",
    kind: "switch",
    default: true,
    meaning:
      "Give each database series of its own in /metrics; off, for thousands: one series for all of them",
  },
});

/** [heartbeat]: a URL that `watch` calls while every database is replicated in time. */
export const HEARTBEAT_OPTIONS = group({
  url: {
    key: "heartbeat.url",
    kind: "text",
    isPrivateUrl: true,
    meaning: "URL to call with GET while every database is replicated in time",
  },
  intervalMs: {
    key: "heartbeat.interval",
    kind: "seconds",
    default: 60,
    min: 1,
    max: 86_400,
    meaning: "Call the URL this often",
  },
  maxLagMs: {
    key: "heartbeat.max_lag",
    kind: "seconds",
    default: 60,
    min: 1,
    max: 86_400,
    meaning: "Do not call the URL while any commit has waited longer than this for its upload",
  },
});

/** The events that a webhook can receive. */
export const WEBHOOK_EVENTS = [
  "sync_failed",
  "auth_failure",
  "corruption_detected",
  "circuit_breaker_open",
] as const;

/** [[webhooks]]: one entry for each receiver of failures. */
export const WEBHOOK_OPTIONS = group({
  url: {
    key: "webhooks.url",
    kind: "text",
    isPrivateUrl: true,
    meaning: "URL that receives notices of failures as JSON, by POST (required)",
  },
  events: {
    key: "webhooks.events",
    kind: "texts",
    default: WEBHOOK_EVENTS,
    choices: WEBHOOK_EVENTS,
    countMax: WEBHOOK_EVENTS.length,
    meaning: "Events to send; a `recovered` event follows when the failure ends",
  },
  secret: {
    key: "webhooks.secret",
    kind: "text",
    isSecret: true,
    meaning: "Key that signs each body: X-Walrust-Signature: sha256=HMAC",
  },
});

/**
 * [[databases]]: one entry for each database or glob. An entry may also override the keys of [sync],
 * [compaction] and [retention].
 */
export const DATABASE_OPTIONS = group({
  path: {
    key: "databases.path",
    kind: "text",
    meaning: "Path of a database, or a glob that walrust expands again every 5 s (required)",
  },
  name: {
    key: "databases.name",
    kind: "text",
    meaning: "Name of the database in the bucket; default: the file stem, or for a glob the matched path",
  },
  prefix: {
    key: "databases.prefix",
    kind: "text",
    meaning: "Folder in the bucket that precedes the name",
  },
  allowEmpty: {
    key: "databases.allow_empty",
    kind: "switch",
    default: false,
    meaning: "Start even if the glob matches no file",
  },
});
