/**
 * The record of a run that is observed: the answers that were judged, by page, over all processes of the run,
 * and their violations.
 */
import { formatCounts } from "../markdown.ts";
import type { AnswerKind } from "./answer-judge.ts";

/** More violations than these add nothing. */
const VIOLATIONS_MAX = 10;

/** The counts of a finished run. */
export interface ObservationCounts {
  /** Processes that gave an answer. */
  readonly processes: number;
  /** Judged answers by page. */
  readonly answers: Readonly<Record<AnswerKind, number>>;
  /** Requests without an answer: the process was starting, suspended or just ended. */
  readonly unanswered: number;
}

/** Counts answers and keeps violations. */
export class Observations {
  readonly #answers = { dashboard: 0, metrics: 0, health: 0, status: 0 };
  readonly #violations: string[] = [];
  #processes = 0;
  #unanswered = 0;

  /** @param report called with each violation as soon as it is found */
  constructor(readonly report: (text: string) => void) {}

  /** A process gave its first answer. */
  began(): void {
    this.#processes++;
  }

  /** An answer was judged. */
  judged(kind: AnswerKind, faults: readonly string[]): void {
    this.#answers[kind]++;
    for (const fault of faults) this.violated(fault);
  }

  /** A request has no answer. */
  missed(): void {
    this.#unanswered++;
  }

  /** A rule is broken. */
  violated(text: string): void {
    if (this.#violations.length >= VIOLATIONS_MAX) return;
    this.#violations.push(`OBSERVED: ${text}`);
    this.report(`OBSERVED: ${text}`);
  }

  /** Reasons why the run fails; empty if all answers were sound. */
  get violations(): readonly string[] {
    return this.#violations;
  }

  get counts(): ObservationCounts {
    return { processes: this.#processes, answers: { ...this.#answers }, unanswered: this.#unanswered };
  }

  /** Whether no rule is broken so far. */
  get isSound(): boolean {
    return this.#violations.length === 0;
  }
}

/** The sum over several runs. */
export function addObservations(all: readonly ObservationCounts[]): ObservationCounts {
  const sum = (pick: (one: ObservationCounts) => number): number =>
    all.reduce((total, one) => total + pick(one), 0);
  return {
    processes: sum(({ processes }) => processes),
    answers: {
      dashboard: sum(({ answers }) => answers.dashboard),
      metrics: sum(({ answers }) => answers.metrics),
      health: sum(({ answers }) => answers.health),
      status: sum(({ answers }) => answers.status),
    },
    unanswered: sum(({ unanswered }) => unanswered),
  };
}

/** One line for a report. */
export function formatObservations({ processes, answers, unanswered }: ObservationCounts): string {
  const counts = formatCounts(answers);
  return `Judged answers of ${processes} processes: ${counts}; without an answer ${unanswered}.`;
}
