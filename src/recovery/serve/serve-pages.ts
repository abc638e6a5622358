/**
 * PURE: the pages /health and /metrics of `walrust serve`.
 *
 * Metrics are in Prometheus' text format 0.0.4: `# HELP`, `# TYPE`, and one line for each series.
 */
import type { PushPosition } from "../../format/push.ts";
import type { HttpReply } from "./receive-http.ts";

/** One replica of a server, and how many pushes had each outcome since the start. */
export interface ServedReplica<Replica extends { position(): PushPosition }> {
  readonly replica: Replica;
  readonly outcomes: ReadonlyMap<string, number>;
}

/** The facts of a server. */
export interface ServeFacts {
  readonly version: string;
  readonly uptimeMs: number;
  readonly replicas: readonly ServedReplica<{ position(): PushPosition }>[];
}

/** The page /health: 503 while a replica fails. @param isWhole names the replicas, for who has the token */
export function healthPage({ version, uptimeMs, replicas }: ServeFacts, isWhole: boolean): HttpReply {
  const positions = replicas.map(({ replica }) => replica.position());
  const failing = positions.filter(({ state }) => state === "failing").length;
  const busy = positions.filter(({ state }) => state === "catching-up" || state === "waiting").length;
  const status = failing > 0 ? "unhealthy" : busy > 0 ? "degraded" : "healthy";
  const shown = positions.map(({ name, txid, time, state, reason }) => ({ name, txid, time, state, reason }));
  const document = {
    status,
    ...(isWhole ? { replicas: shown } : {}),
    uptime_seconds: Math.round(uptimeMs / 1000),
    version,
  };
  return {
    status: failing > 0 ? 503 : 200,
    body: `${JSON.stringify(document)}\n`,
    contentType: "application/json",
  };
}

/** The page /metrics. */
export function metricsPage({ version, uptimeMs, replicas }: ServeFacts): HttpReply {
  const facts = replicas.map(({ replica, outcomes }) => ({ ...replica.position(), outcomes }));
  const lines = [
    ...family("up", "gauge", "1 while walrust serves replicas.", [["", 1]]),
    ...family("build_info", "gauge", "The version of walrust, as a label.", [[labels({ version }), 1]]),
    ...family("uptime_seconds", "gauge", "Seconds since the start of the process.", [
      ["", Math.round(uptimeMs) / 1000],
    ]),
    ...family(
      "replica_txid",
      "gauge",
      "TXID that readers of the replica see.",
      facts.map(({ name, txid }) => [labels({ db: name }), txid]),
    ),
    ...family(
      "replica_timestamp",
      "gauge",
      "Capture time of that TXID, in seconds since the epoch.",
      facts.flatMap(({ name, time }) => (time === null ? [] : [[labels({ db: name }), seconds(time)]])),
    ),
    ...family(
      "replica_ready",
      "gauge",
      "1 if the replica takes pushes.",
      facts.map(({ name, state }) => [labels({ db: name }), state === "ready" ? 1 : 0]),
    ),
    ...family(
      "replica_pushes_total",
      "counter",
      "Pushes by outcome: applied, or the reason of the refusal.",
      facts.flatMap(({ name, outcomes }) =>
        [...outcomes].map(([outcome, count]): Sample => [labels({ db: name, outcome }), count]),
      ),
    ),
  ];
  const contentType = "text/plain; version=0.0.4; charset=utf-8";
  return { status: 200, body: `${lines.join("\n")}\n`, contentType };
}

type Sample = readonly [labels: string, value: number];

function family(name: string, kind: string, help: string, samples: readonly (readonly [string, number])[]) {
  if (samples.length === 0) return [];
  const full = `walrust_${name}`;
  return [
    `# HELP ${full} ${help}`,
    `# TYPE ${full} ${kind}`,
    ...samples.map(([text, value]) => `${full}${text} ${value}`),
  ];
}

function labels(pairs: Readonly<Record<string, string>>): string {
  const escaped = (value: string): string =>
    value.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
  return `{${Object.entries(pairs)
    .map(([name, value]) => `${name}="${escaped(value)}"`)
    .join(",")}}`;
}

function seconds(time: string): number {
  return Date.parse(time) / 1000;
}
