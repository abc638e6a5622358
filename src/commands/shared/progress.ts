/**
 * Shows the progress of a work while a person waits: a bar on a terminal, a line every 10 s in the log on a
 * pipe, or lines of JSON on stderr. The parts of walrust that do the work know nothing of it: they report
 * counts through a callback.
 *
 * Guarantees:
 * 1. Work that ends within a second shows nothing.
 * 2. Escape codes go to a terminal only, and not with TERM=dumb or NO_COLOR.
 * 3. A bar is one line, no wider than the terminal, and is gone when the work ends.
 * 4. Bytes are named by what was counted: objects that were read from the store or checked (as they are
 *    stored, compressed), or sent to it; or bytes of a database that were read.
 */
import type { Env } from "../../env.ts";
import { oneLine } from "../../observability/terminal-text.ts";
import type { ProgressDocument } from "./documents.ts";
import { formatBytes, showBar, terminalColumns, writeJsonLine } from "./output.ts";

/** How progress is shown. */
export type ProgressStyle = "bar" | "lines" | "json" | "none";

/** A work that takes a while. */
export interface ProgressWork {
  /** The verb, as JSON names it. */
  readonly verb: string;
  /** The database, or null for a work on several. */
  readonly database: string | null;
  /** The work in words, such as "restoring app". */
  readonly label: string;
  /** The meaning of the counted bytes. */
  readonly unit: "read" | "checked" | "sent";
}

/** How far a work is. */
export interface ProgressState {
  readonly doneBytes: number;
  /** Null while it is not known. */
  readonly totalBytes: number | null;
  /** Databases that are complete, of all, for a work on several. */
  readonly databases?: { readonly done: number; readonly total: number };
  /** Bytes that the store has taken meanwhile, where a work reads and sends. */
  readonly sentBytes?: number;
  /** The share that is done, from 0 to 1; by default that of the bytes. */
  readonly share?: number;
  /** The step after the bytes, which reports no progress of its own. */
  readonly step?: "integrity_check";
}

/** Receives the progress of one work. */
export type OnProgress = (doneBytes: number, totalBytes: number, step?: ProgressState["step"]) => void;

/** Where progress is shown. */
export interface ProgressOutput {
  /** Shows a text as the last line of the terminal, or removes it. */
  bar(text: string | null): void;
  line(message: string): void;
  json(document: unknown): void;
  /** Width of the terminal. */
  columns(): number;
}

/** The parts of the environment that progress needs. */
export type ProgressEnv = Pick<Env, "monotonicMs" | "nowMs" | "sleep">;

/** The time before the first output, and between two outputs. */
const FIRST_MS = { bar: 1_000, lines: 10_000, json: 1_000 } as const;
const PERIOD_MS = { bar: 200, lines: 10_000, json: 1_000 } as const;
/** A sleep may end a little early. */
const SLACK_MS = 20;
/** The rate is that of the last seconds. */
const RATE_WINDOW_MS = 10_000;
const BAR_WIDTHS = [30, 20, 10, 0] as const;

/** The facts that decide how progress is shown. */
export interface ProgressWish {
  readonly isJson: boolean;
  /** `--progress` is given. */
  readonly isWanted: boolean;
  /** Whether stderr is a terminal. */
  readonly isTerminal: boolean;
  readonly variables: Readonly<Record<string, string | undefined>>;
}

/** Decides how progress is shown. Pure. Source of NO_COLOR: no-color.org. */
export function progressStyle({ isJson, isWanted, isTerminal, variables }: ProgressWish): ProgressStyle {
  if (isJson && isWanted) return "json";
  const isPlain = variables["TERM"] === "dumb" || (variables["NO_COLOR"] ?? "") !== "";
  if (isTerminal && !isPlain) return "bar";
  return isJson ? "none" : "lines";
}

/** The progress of the works of one verb. */
export class ProgressDisplay {
  constructor(
    readonly style: ProgressStyle,
    readonly env: ProgressEnv,
    readonly output: ProgressOutput,
  ) {}

  /** The display on stderr. */
  static onStderr(
    wish: Omit<ProgressWish, "isTerminal">,
    env: ProgressEnv & Pick<Env, "log">,
  ): ProgressDisplay {
    const style = progressStyle({ ...wish, isTerminal: process.stderr.isTTY === true });
    return new ProgressDisplay(style, env, {
      bar: showBar,
      line: (message) => env.log.info(message),
      json: writeJsonLine,
      columns: terminalColumns,
    });
  }

  /** Begins to show a work. The caller ends it. */
  begin(work: ProgressWork): RunningProgress {
    return new RunningProgress(work, this);
  }

  /** Shows a work that reports through a callback, until it ends. */
  async during<T>(work: ProgressWork, run: (onProgress: OnProgress) => Promise<T>): Promise<T> {
    const running = this.begin(work);
    try {
      return await run((doneBytes, totalBytes, step) =>
        running.update({ doneBytes, totalBytes, ...(step && { step }) }),
      );
    } finally {
      running.end();
    }
  }
}

/** One work that is shown. */
export class RunningProgress {
  readonly #work: ProgressWork;
  readonly #display: ProgressDisplay;
  readonly #startedMs: number;
  readonly #ending = new AbortController();
  readonly #samples: { readonly ms: number; readonly bytes: number }[] = [];
  #state: ProgressState = { doneBytes: 0, totalBytes: null };
  #shownMs = Number.NEGATIVE_INFINITY;

  constructor(work: ProgressWork, display: ProgressDisplay) {
    this.#work = work;
    this.#display = display;
    this.#startedMs = display.env.monotonicMs();
    this.#samples.push({ ms: this.#startedMs, bytes: 0 });
    if (display.style !== "none") void this.#tick(PERIOD_MS[display.style]);
  }

  /** Takes a new state, and shows it if it is time. */
  update(state: ProgressState): void {
    this.#state = state;
    // Long synchronous work leaves the ticks no turn.
    this.#showAfter(1);
  }

  /** Ends the display. */
  end(): void {
    this.#ending.abort();
    if (this.#display.style === "bar") this.#display.output.bar(null);
  }

  /** Shows the time left while no new state comes, too. */
  async #tick(periodMs: number): Promise<void> {
    const { signal } = this.#ending;
    for (;;) {
      await this.#display.env.sleep(periodMs, signal);
      if (signal.aborted) return;
      this.#showAfter(0.5);
    }
  }

  /** Shows the state if this share of the period has passed. */
  #showAfter(share: number): void {
    const { style, env, output } = this.#display;
    if (style === "none" || this.#ending.signal.aborted) return;
    const nowMs = env.monotonicMs();
    if (nowMs - this.#startedMs < FIRST_MS[style] - SLACK_MS) return;
    if (nowMs - this.#shownMs < PERIOD_MS[style] * share) return;
    this.#shownMs = nowMs;
    const pace = this.#paceAt(nowMs);
    if (style === "bar") output.bar(barText(this.#work, this.#state, pace, output.columns()));
    else if (style === "lines") {
      output.line(`${this.#work.label}: ${factsOf(this.#work, this.#state, pace).join(", ")}`);
    } else output.json(progressJson(this.#work, this.#state, pace, env.nowMs()));
  }

  #paceAt(nowMs: number): ProgressPace {
    const { doneBytes, sentBytes = 0 } = this.#state;
    const bytes = doneBytes + sentBytes;
    const samples = this.#samples;
    samples.push({ ms: nowMs, bytes });
    while (samples.length > 2 && samples[1]!.ms <= nowMs - RATE_WINDOW_MS) samples.shift();
    const from = samples[0]!;
    const seconds = (nowMs - from.ms) / 1_000;
    const bytesPerSecond = seconds > 0 ? Math.max(0, bytes - from.bytes) / seconds : 0;
    const elapsedMs = nowMs - this.#startedMs;
    return { elapsedMs, bytesPerSecond, secondsLeft: secondsLeft(this.#state, bytesPerSecond, elapsedMs) };
  }
}

/** The time left by the rate of the bytes, or by the share of a work on several databases. Pure. */
function secondsLeft(state: ProgressState, bytesPerSecond: number, elapsedMs: number): number | null {
  const { doneBytes, totalBytes, databases, sentBytes } = state;
  const share = shareOf(state);
  let left = Number.NaN;
  if (databases !== undefined && share !== null) left = ((elapsedMs / share) * (1 - share)) / 1_000;
  else if (totalBytes !== null && sentBytes === undefined) left = (totalBytes - doneBytes) / bytesPerSecond;
  return Number.isFinite(left) ? Math.max(0, left) : null;
}

/** A work that comes again: its display begins with the first state after the last end. */
export class RepeatedProgress {
  readonly #display: ProgressDisplay;
  readonly #work: ProgressWork;
  #running: RunningProgress | null = null;

  constructor(display: ProgressDisplay, work: ProgressWork) {
    this.#display = display;
    this.#work = work;
  }

  /** Takes a new state. */
  update(state: ProgressState): void {
    this.#running ??= this.#display.begin(this.#work);
    this.#running.update(state);
  }

  /** Ends the display, if there is one. */
  end(): void {
    this.#running?.end();
    this.#running = null;
  }
}

/** The pace of a work. */
export interface ProgressPace {
  readonly elapsedMs: number;
  /** Of the bytes that are counted, and of those that are sent. */
  readonly bytesPerSecond: number;
  /** Null while it cannot be estimated. */
  readonly secondsLeft: number | null;
}

function shareOf({ doneBytes, totalBytes, share }: ProgressState): number | null {
  if (share !== undefined) return Math.min(1, share);
  if (totalBytes === null) return null;
  return totalBytes === 0 ? 1 : Math.min(1, doneBytes / totalBytes);
}

/** The facts of a state: counts, rate and time left. Pure. */
function factsOf({ unit }: ProgressWork, state: ProgressState, pace: ProgressPace): string[] {
  const { doneBytes, totalBytes, databases, sentBytes } = state;
  const done = formatBytes(doneBytes);
  const share = shareOf(state);
  const isDone = totalBytes === null ? done : `${done} of ${formatBytes(totalBytes)}`;
  if (state.step !== undefined) return [`${isDone} ${unit}`, "SQLite checks the file"];
  return [
    ...(databases === undefined ? [] : [`${databases.done} of ${databases.total} databases`]),
    `${isDone} ${unit}`,
    ...(sentBytes === undefined ? [] : [`${formatBytes(sentBytes)} sent`]),
    // Nobody knows how much is to be sent: neither a percentage nor a time would hold.
    ...(share === null || databases !== undefined || sentBytes !== undefined ? [] : [percentText(share)]),
    `${formatBytes(pace.bytesPerSecond)}/s`,
    ...(pace.secondsLeft === null ? [] : [`${durationText(pace.secondsLeft)} left`]),
  ];
}

/** The line of a bar, at most `columns` wide. Pure. */
export function barText(
  work: ProgressWork,
  state: ProgressState,
  pace: ProgressPace,
  columns: number,
): string {
  const label = oneLine(work.label);
  const share = shareOf(state);
  const facts = factsOf(work, state, pace);
  // The last column stays empty: some terminals begin a new line after it.
  const widthMax = Math.max(1, columns - 1);
  for (let count = facts.length; count > 0; count--) {
    for (const width of share === null ? [0] : BAR_WIDTHS) {
      const bar = width === 0 ? "" : ` ${barOf(share ?? 0, width)}`;
      const text = `${label}${bar} ${facts.slice(0, count).join(", ")}`;
      if (Bun.stringWidth(text) <= widthMax) return text;
    }
  }
  return cut(`${label} ${facts[0]}`, widthMax);
}

function barOf(share: number, width: number): string {
  const filled = Math.floor(share * width);
  return `${"█".repeat(filled)}${"░".repeat(width - filled)}`;
}

/** Cuts a text to a width. A wide character that does not fit is left out. */
function cut(text: string, width: number): string {
  let [kept, used] = ["", 0];
  for (const character of text) {
    used += Bun.stringWidth(character);
    if (used > width) return kept;
    kept += character;
  }
  return kept;
}

/** 100 % only when all is done. */
function percentText(share: number): string {
  return `${Math.floor(share * 100)} %`;
}

/** A time left, in its two largest units. Pure. */
export function durationText(seconds: number): string {
  const whole = Math.max(1, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return whole % 60 === 0 ? `${minutes} min` : `${minutes} min ${whole % 60} s`;
  return minutes % 60 === 0 ? `${minutes / 60} h` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** A state as one document. Pure. */
export function progressJson(
  work: ProgressWork,
  state: ProgressState,
  pace: ProgressPace,
  nowMs: number,
): ProgressDocument {
  const { doneBytes, totalBytes, databases, sentBytes = null } = state;
  return {
    progress: work.verb,
    database: work.database,
    counted: work.unit,
    done_bytes: doneBytes,
    total_bytes: totalBytes,
    sent_bytes: sentBytes,
    step: state.step ?? null,
    databases_done: databases?.done ?? null,
    databases_total: databases?.total ?? null,
    bytes_per_second: Math.round(pace.bytesPerSecond),
    seconds_left: pace.secondsLeft === null ? null : Math.round(pace.secondsLeft),
    elapsed_ms: Math.round(pace.elapsedMs),
    at: new Date(nowMs).toISOString(),
  };
}
