/**
 * Samples a running process during a measurement: memory often, and the slower readings every few seconds.
 */

import { countConnections, type ProcessSample, readPssBytes, sampleProcess } from "../../measure/proc.ts";
import { median } from "../../measure/statistics.ts";

/** A reading with those that cost more. */
export interface FullSample extends ProcessSample {
  readonly connectionCount: number;
  readonly pssBytes: number | null;
}

const SAMPLE_MS = 250;
const FULL_MS = 5_000;

/** Samples one process, at each call at most as often as it should. */
export class Sampler {
  readonly samples: ProcessSample[] = [];
  readonly fullSamples: FullSample[] = [];
  #nextMs = 0;
  #nextFullMs = 0;

  /** @param port the port of the storage, whose connections count */
  constructor(
    readonly pid: number,
    readonly port: number,
  ) {}

  /** Samples if it is time. @throws Error when the process is gone */
  tick(): void {
    const nowMs = performance.now();
    if (nowMs < this.#nextMs) return;
    this.#nextMs = nowMs + SAMPLE_MS;
    const sample = sampleProcess(this.pid);
    this.samples.push(sample);
    if (nowMs < this.#nextFullMs) return;
    this.#nextFullMs = nowMs + FULL_MS;
    const pssBytes = readPssBytes(this.pid);
    this.fullSamples.push({ ...sample, connectionCount: countConnections(this.port), pssBytes });
  }
}

/** Medians and maxima of the samples, which must not be empty. */
export function summarize(
  samples: readonly ProcessSample[],
  fullSamples: readonly FullSample[],
): Record<string, number> {
  const rss = samples.map(({ rssBytes }) => rssBytes);
  const pss = fullSamples.map(({ pssBytes }) => pssBytes).filter((bytes) => bytes !== null);
  const quarter = Math.ceil(rss.length / 4);
  return {
    rssMedianBytes: median(rss),
    rssMaxBytes: Math.max(...rss),
    // A median of the last quarter above that of the first shows growth.
    rssGrowthBytes: median(rss.slice(-quarter)) - median(rss.slice(0, quarter)),
    anonymousMedianBytes: median(samples.map(({ anonymousBytes }) => anonymousBytes)),
    anonymousMaxBytes: Math.max(...samples.map(({ anonymousBytes }) => anonymousBytes)),
    ...(pss.length === 0 ? {} : { pssBytes: median(pss) }),
    peakRssBytes: Math.max(...samples.map(({ peakRssBytes }) => peakRssBytes)),
    descriptorCount: Math.max(...samples.map(({ descriptorCount }) => descriptorCount)),
    threadCount: Math.max(...samples.map(({ threadCount }) => threadCount)),
    connectionCount: Math.max(...fullSamples.map(({ connectionCount }) => connectionCount)),
  };
}
