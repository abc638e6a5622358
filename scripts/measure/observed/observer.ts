/**
 * Observes one process of `walrust watch` as a person and Prometheus do: polls the dashboard's document as
 * its page does, scrapes /metrics in both formats in turn, asks /health, and runs `walrust status` now and
 * then. Each answer is judged, one at a time, in the order of the answers.
 *
 * Invariants:
 * 1. After the end of the process, or of the observer, nothing counts as an answer or as a missing one.
 * 2. A process that runs and is silent for a minute breaks a rule: the observed pages are gone.
 */
import { setTimeout as timeout } from "node:timers/promises";
import type { DashboardDocument } from "../../../src/observability/dashboard/dashboard-document.ts";
import {
  DOCUMENT_PATH,
  POLL_TIMEOUT_MS,
  pollDelayMs,
  retryDelayMs,
} from "../../../src/observability/dashboard/poll-plan.ts";
import type { HealthReport } from "../../../src/observability/health.ts";
import { type Child, isAlive } from "../workspace.ts";
import { AnswerJudge, type AnswerKind } from "./answer-judge.ts";
import type { Observations } from "./observations.ts";
import type { StatusDocument } from "./status-document.ts";

/** The process to observe. */
export interface ObservedProcess {
  readonly pid: number;
  /** URL of its status server. */
  readonly url: string;
  readonly isAlive: () => boolean;
  /** Settles at its end. */
  readonly exited: Promise<unknown>;
  /** `walrust status --json` for this watch; null: the verb is not run. */
  readonly status: StatusCommand | null;
}

/** A command with the whole of its environment. */
export interface StatusCommand {
  readonly words: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly folder: string;
}

/** Times between two requests. The page of the dashboard has its own. */
export interface Pace {
  /** Until the first answer. */
  readonly openMs: number;
  /** The usual interval of Prometheus in a small installation. */
  readonly metricsMs: number;
  /** The usual interval of a probe. */
  readonly healthMs: number;
  /** Before the first `walrust status`, and between two. */
  readonly statusMs: number;
  /** The longest silence of a process that runs. */
  readonly silenceMs: number;
}

/** The pace of a run. */
export const PACE: Pace = {
  ...{ openMs: 100, metricsMs: 5_000, healthMs: 10_000, statusMs: 20_000, silenceMs: 60_000 },
};

/** The header of a Prometheus server. */
const ACCEPT_OPEN_METRICS =
  "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75," +
  "text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
const ACCEPT_TEXT = "text/plain;version=0.0.4";
const STATUS_TIMEOUT_MS = 30_000;
/** A process that was killed in the middle of its answer shows its end by then. */
const DEATH_MS = 250;
const KINDS: readonly AnswerKind[] = ["dashboard", "metrics", "health", "status"];

/** Observes one process until it is ended. */
export class Observer {
  readonly #judge = new AnswerJudge();
  readonly #ended = new AbortController();
  readonly #woken = new AbortController();
  readonly #running: Promise<void>;
  #isFinishing = false;
  #isOpenMetrics = false;
  #answeredMs = performance.now();
  /** The databases of the last document: the page polls many of them less often. */
  #databaseCount = 0;

  constructor(
    readonly process: ObservedProcess,
    readonly record: Observations,
    readonly pace: Pace = PACE,
  ) {
    this.#running = this.#run();
    // A process may end by itself.
    void process.exited.then(() => this.end());
  }

  /** Observes a process of a workspace. */
  static of(
    child: Child,
    { url, status }: Pick<ObservedProcess, "url" | "status">,
    record: Observations,
  ): Observer {
    const { exited } = child.process;
    return new Observer({ pid: child.pid, url, isAlive: () => isAlive(child), exited, status }, record);
  }

  /** Ends at once, before the process is killed. Never rejects. */
  async end(): Promise<void> {
    this.#ended.abort();
    this.#woken.abort();
    await this.#running;
  }

  /** Asks for everything once more, then ends: before the process is stopped. Never rejects. */
  async finish(): Promise<void> {
    this.#isFinishing = true;
    this.#woken.abort();
    await this.#running;
  }

  get #isOver(): boolean {
    return this.#ended.signal.aborted || !this.process.isAlive();
  }

  async #run(): Promise<void> {
    const { pace } = this;
    while (!(await this.#isOpen())) {
      if (this.#isOver || this.#isFinishing) return;
      this.#checkSilence();
      await pause(pace.openMs, this.#woken.signal);
    }
    if (this.#isOver) return;
    this.record.began();
    const dueMs = { dashboard: 0, metrics: 0, health: 0, status: performance.now() + pace.statusMs };
    while (!this.#isOver) {
      const isLast = this.#isFinishing;
      for (const kind of KINDS) {
        if (!isLast && performance.now() < dueMs[kind]) continue;
        const isAnswered = await this.#ask(kind);
        dueMs[kind] = performance.now() + this.#delayMs(kind, isAnswered);
      }
      if (isLast) return;
      await pause(Math.min(...Object.values(dueMs)) - performance.now(), this.#woken.signal);
    }
  }

  async #isOpen(): Promise<boolean> {
    try {
      await this.#fetch("/health", "*/*");
      this.#answeredMs = performance.now();
      return true;
    } catch {
      return false;
    }
  }

  #delayMs(kind: AnswerKind, isAnswered: boolean): number {
    const { metricsMs, healthMs, statusMs } = this.pace;
    if (kind === "metrics") return metricsMs;
    if (kind === "health") return healthMs;
    if (kind === "status") return this.process.status === null ? Number.POSITIVE_INFINITY : statusMs;
    return isAnswered ? pollDelayMs(this.#databaseCount, false) : retryDelayMs(false);
  }

  /** Asks for one page, and judges the answer. @returns whether there was one */
  async #ask(kind: AnswerKind): Promise<boolean> {
    if (this.#isOver || (kind === "status" && this.process.status === null)) return false;
    const faults = await this.#faultsOrNull(kind);
    if (faults !== null && faults.length > 0) await pause(DEATH_MS, this.#ended.signal);
    if (this.#isOver) return false;
    if (faults === null) {
      this.record.missed();
      this.#checkSilence();
      return false;
    }
    this.#answeredMs = performance.now();
    this.record.judged(kind, faults);
    return true;
  }

  /** The faults of an answer, or null without one. */
  async #faultsOrNull(kind: AnswerKind): Promise<string[] | null> {
    try {
      if (kind === "dashboard") return await this.#askDashboard();
      if (kind === "metrics") return await this.#askMetrics();
      if (kind === "health") return await this.#askHealth();
      return await this.#askStatus();
    } catch {
      return null;
    }
  }

  async #askDashboard(): Promise<string[]> {
    const { status, text } = await this.#fetch(DOCUMENT_PATH, "*/*");
    const document = jsonOrNull<DashboardDocument>(text);
    if (status !== 200 || document === null) return [unexpected("dashboard", status, text)];
    this.#databaseCount = document.databases?.length ?? 0;
    return this.#judge.dashboard(document);
  }

  async #askHealth(): Promise<string[]> {
    const { status, text } = await this.#fetch("/health", "*/*");
    const report = jsonOrNull<HealthReport>(text);
    return report === null ? [unexpected("health", status, text)] : this.#judge.health(status, report);
  }

  async #askMetrics(): Promise<string[]> {
    this.#isOpenMetrics = !this.#isOpenMetrics;
    const accept = this.#isOpenMetrics ? ACCEPT_OPEN_METRICS : ACCEPT_TEXT;
    const { status, text, contentType } = await this.#fetch("/metrics", accept);
    const wanted = this.#isOpenMetrics ? "application/openmetrics-text" : "text/plain";
    if (status !== 200 || !contentType.startsWith(wanted)) return [unexpected("metrics", status, text)];
    return this.#judge.metrics(text, this.#isOpenMetrics);
  }

  async #askStatus(): Promise<string[] | null> {
    const { status: command, pid } = this.process;
    if (command === null) return null;
    const child = Bun.spawn([...command.words], {
      ...{ cwd: command.folder, env: command.env, signal: this.#ended.signal, timeout: STATUS_TIMEOUT_MS },
      stdio: ["ignore", "pipe", "ignore"],
    });
    const text = await child.stdout.text();
    const exitCode = await child.exited;
    const document = jsonOrNull<StatusDocument>(text);
    if (document === null) return [unexpected("status", exitCode, text)];
    const own = document.watches.find((watch) => watch.pid === pid);
    // The watch has no socket yet, or is suspended.
    if (own === undefined || own.problem !== null) return null;
    return this.#judge.status(exitCode, document, pid);
  }

  async #fetch(
    path: string,
    accept: string,
  ): Promise<{ readonly status: number; readonly text: string; readonly contentType: string }> {
    const signal = AbortSignal.any([this.#ended.signal, AbortSignal.timeout(POLL_TIMEOUT_MS)]);
    const response = await fetch(this.process.url + path, { headers: { accept }, redirect: "error", signal });
    const text = await response.text();
    return { status: response.status, text, contentType: response.headers.get("content-type") ?? "" };
  }

  #checkSilence(): void {
    const silentMs = performance.now() - this.#answeredMs;
    if (silentMs < this.pace.silenceMs) return;
    this.record.violated(`process ${this.process.pid} runs, and has not answered for ${silentMs | 0} ms`);
    this.#answeredMs = performance.now();
  }
}

function unexpected(kind: AnswerKind, status: number, text: string): string {
  return `${kind}: answered ${status}: ${JSON.stringify(text.slice(0, 200))}`;
}

function jsonOrNull<Document>(text: string): Document | null {
  try {
    return JSON.parse(text) as Document;
  } catch {
    return null;
  }
}

async function pause(durationMs: number, signal: AbortSignal): Promise<void> {
  await timeout(Math.max(0, durationMs), undefined, { signal }).catch(() => {});
}
