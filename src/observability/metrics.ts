/**
 * All metrics, taken from the status of each database, the counters of the process, and /proc, at the moment
 * of a request. Nothing is computed before.
 */
import { readFileSync } from "node:fs";
import type { Condition } from "../errors.ts";
import type { DatabaseStatus } from "../replication/watch/watch-status.ts";
import { databaseFamilies, pushFamilies } from "./database-metrics.ts";
import { labelText, type MetricFamily, type Sample } from "./prometheus.ts";
import type { Tally } from "./tally.ts";

const STATES = ["starting", "watching", "failing", "paused", "stopped"] as const;

/** The facts of the process. */
export interface MetricFacts {
  readonly tally: Tally;
  readonly version: string;
  /** Conditions of the store that all databases share. */
  readonly storeConditions: readonly Condition[];
}

/** All metric families at this moment. */
export function* metricFamilies(
  statuses: readonly DatabaseStatus[],
  { tally, version, storeConditions }: MetricFacts,
): Generator<MetricFamily> {
  yield* processFamilies(tally, version);
  yield* memoryFamilies();
  yield gauge(
    "databases",
    "Databases by state.",
    STATES.map((state) => ({
      labels: labelText({ state }),
      value: statuses.filter((status) => status.state === state).length,
    })),
  );
  yield gauge(
    "conditions",
    "Databases with a condition of /health, by code; 1 for a condition of the store or the machine.",
    conditionSamples([...storeConditions, ...statuses.flatMap(({ conditions }) => conditions)]),
  );
  yield* databaseFamilies(statuses, tally);
  yield* pushFamilies(statuses, tally.isPerDatabase);
}

function* processFamilies({ env, startedMs, letGoCount }: Tally, version: string): Generator<MetricFamily> {
  yield gauge("up", "1 while walrust watches.", [{ value: 1 }]);
  yield gauge("build_info", "The version of walrust, as a label.", [
    { labels: labelText({ version }), value: 1 },
  ]);
  const uptimeMs = env.monotonicMs() - startedMs;
  yield gauge("uptime_seconds", "Seconds since the start of the process.", [
    { value: Math.round(uptimeMs) / 1000 },
  ]);
  yield {
    name: "walrust_let_go_total",
    kind: "counter",
    help: "Databases that walrust stopped replicating because their glob no longer matches them.",
    samples: [{ value: letGoCount }],
  };
}

function* memoryFamilies(): Generator<MetricFamily> {
  const status = procStatus();
  const of = (field: string): Sample[] => {
    const kibibytes = status.match(new RegExp(`^${field}:\\s+(\\d+) kB$`, "m"))?.[1];
    return kibibytes === undefined ? [] : [{ value: Number(kibibytes) * 1024 }];
  };
  yield gauge("resident_memory_bytes", "Resident memory (VmRSS).", of("VmRSS"));
  yield gauge("anonymous_memory_bytes", "Resident memory that maps no file (RssAnon).", of("RssAnon"));
  yield gauge("peak_memory_bytes", "Most resident memory so far (VmHWM).", of("VmHWM"));
}

/** The kernel's status of this process; empty where there is no /proc. */
function procStatus(): string {
  try {
    return readFileSync("/proc/self/status", "latin1");
  } catch {
    return "";
  }
}

function conditionSamples(conditions: readonly Condition[]): Sample[] {
  const counts = new Map<string, number>();
  for (const { code, health } of conditions) {
    const labels = labelText({ code, health });
    counts.set(labels, (counts.get(labels) ?? 0) + 1);
  }
  return [...counts].map(([labels, value]) => ({ labels, value }));
}

function gauge(name: string, help: string, samples: Iterable<Sample>): MetricFamily {
  return { name: `walrust_${name}`, kind: "gauge", help, samples };
}
