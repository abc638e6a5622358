/**
 * Runs SQLite's check in a child process. SQLite's calls are synchronous, and the schema is somebody else's:
 * an expression of an index may take hours or gigabytes. The parent obeys signals meanwhile, and kills the
 * child when it exceeds its limits on time or memory; the rest then counts as not checked.
 *
 * Guarantees: no child outlives its parent; a child gets no environment variable of its parent, so no secret;
 * at most some kilobytes of answers are kept. Without a command for a child (the library in somebody else's
 * process) the check runs in this process, without limits.
 */
import { readFileSync, statSync, writeFileSync, writeSync } from "node:fs";
import type { Env } from "../../env.ts";
import { errorMessage, WalrustError } from "../../errors.ts";
import { inspectDatabase } from "./integrity-check.ts";
import {
  INTEGRITY_MODES,
  type IntegrityMode,
  type IntegrityNote,
  type IntegrityVerdict,
  NOTES_MAX,
  SKIPPED,
  shortNote,
  verdictOf,
  WHOLE_DATABASE,
} from "./integrity-verdict.ts";

/** The surroundings of a check: the clock, and a signal that ends the check. */
export interface CheckContext {
  readonly env: Env;
  readonly signal?: AbortSignal | undefined;
}

/** Checks a database file. @throws WalrustError code "database" when the file cannot be read */
export type IntegrityChecker = (
  path: string,
  mode: IntegrityMode,
  context: CheckContext,
) => Promise<IntegrityVerdict>;

/** The limits of one check. */
export interface CheckLimits {
  readonly timeMs: number;
  readonly memoryBytes: number;
}

const MEMORY_MAX_BYTES = 512 * 1024 * 1024;
const TIME_BASE_MS = 60_000;
/** The least rate at which a slow disk reads a database page by page. */
const BYTES_PER_MS = 2 * 1024;
const POLL_MS = 50;
const LOG_AFTER_MS = 10_000;
const ANSWER_BYTES_MAX = 256 * 1024;

/** The limits of a check of a file of this size. */
export function limitsFor(sizeBytes: number): CheckLimits {
  return { timeMs: TIME_BASE_MS + Math.ceil(sizeBytes / BYTES_PER_MS), memoryBytes: MEMORY_MAX_BYTES };
}

/** Checks in this process. */
export const checkInProcess: IntegrityChecker = async (path, mode) => {
  if (mode === "off") return SKIPPED;
  const notes: IntegrityNote[] = [];
  inspectDatabase(path, mode, (note) => notes.push(note));
  return verdictOf(mode, notes);
};

/**
 * Makes a checker that runs `command PATH MODE`, whose process calls `runCheckChild`. When a full check
 * exceeds its limits, a quick check follows, which evaluates no expressions of indexes.
 * @param limitsOf the limits by size of the file
 */
export function checkerInChild(command: readonly string[], limitsOf = limitsFor): IntegrityChecker {
  return async (path, mode, context) => {
    if (mode === "off") return SKIPPED;
    const limits = limitsOf(statSync(path).size);
    const first = await notesOfChild([...command, path, mode], limits, context);
    if (first.cut === null) return verdictOf(mode, first.notes);
    const left = (part: string, reason: string): IntegrityNote => ({ kind: "unchecked", part, reason });
    if (mode === "quick") return verdictOf(mode, [...first.notes, left(WHOLE_DATABASE, first.cut)]);
    const quick = await notesOfChild([...command, path, "quick"], limits, context);
    const part = quick.cut === null ? "the indexes" : WHOLE_DATABASE;
    return verdictOf(mode, [...first.notes, ...quick.notes, left(part, first.cut)]);
  };
}

type Answer =
  | IntegrityNote
  | { readonly kind: "end" }
  | { readonly kind: "failure"; readonly message: string };

/** The notes of a child; `cut` is the reason why notes may be missing, or null. */
async function notesOfChild(
  command: readonly string[],
  limits: CheckLimits,
  context: CheckContext,
): Promise<{ notes: IntegrityNote[]; cut: string | null }> {
  const { lines, stopped, ending } = await linesOfChild(command, limits, context);
  const answers = lines as Answer[];
  const notes: IntegrityNote[] = [];
  for (const answer of answers) {
    if (answer.kind === "failure") throw new WalrustError("database", answer.message);
    if (answer.kind === "end") return { notes, cut: null };
    notes.push(answer);
  }
  return { notes, cut: stopped ?? ending };
}

/** The output of a child, one JSON value a line, and its end. */
export interface ChildAnswers {
  readonly lines: readonly unknown[];
  /** The reason why the parent killed the child, or null. */
  readonly stopped: string | null;
  /** The end of the child, for a message. */
  readonly ending: string;
}

/**
 * Runs a command with limits on time, memory and output. An incomplete last line is dropped.
 * @throws the reason of the signal when it aborts
 */
export async function linesOfChild(
  command: readonly string[],
  limits: CheckLimits,
  { env, signal }: CheckContext,
): Promise<ChildAnswers> {
  signal?.throwIfAborted();
  const child = startOrReason(command);
  if (typeof child === "string") return { lines: [], stopped: child, ending: child };
  preferAsVictim(child.pid);
  const ended = new AbortController();
  const done = child.exited.then(() => ended.abort());
  const text = readAnswers(child.stdout, () => child.kill("SIGKILL"));
  const stopped = await supervise(child, limits, { env, signal }, ended.signal);
  if (stopped !== null) child.kill("SIGKILL");
  await done;
  const lines = (await text).split("\n").slice(0, -1);
  signal?.throwIfAborted();
  const ending = `the check ended by itself (${child.signalCode ?? `exit ${child.exitCode}`})`;
  return { lines: lines.map((line) => JSON.parse(line) as unknown), stopped, ending };
}

/** Starts a child without stderr and without our environment. @returns the reason when it cannot start */
function startOrReason(command: readonly string[]): Bun.Subprocess<"ignore", "pipe", "ignore"> | string {
  try {
    return Bun.spawn([...command], { stdio: ["ignore", "pipe", "ignore"], env: {}, cwd: "/" });
  } catch (error) {
    return `no process can be started for the check (${errorMessage(error)})`;
  }
}

/** Waits for the end of a child. @returns the reason to kill it, or null */
async function supervise(
  child: { readonly pid: number },
  limits: CheckLimits,
  { env, signal }: CheckContext,
  ended: AbortSignal,
): Promise<string | null> {
  const startedMs = env.monotonicMs();
  const either = signal === undefined ? ended : AbortSignal.any([ended, signal]);
  let isLogged = false;
  while (!either.aborted) {
    const elapsedMs = env.monotonicMs() - startedMs;
    if (elapsedMs > limits.timeMs) return `it took longer than ${Math.round(limits.timeMs / 1000)} s`;
    if (anonymousBytes(child.pid) > limits.memoryBytes) {
      return `it took more than ${Math.round(limits.memoryBytes / 1024 / 1024)} MB of memory`;
    }
    if (elapsedMs > LOG_AFTER_MS && !isLogged) {
      isLogged = true;
      env.log.info("integrity_check is still running; --integrity-check=quick takes less time");
    }
    await env.sleep(POLL_MS, either);
  }
  return ended.aborted ? null : "it was interrupted";
}

/** The anonymous memory of a process; 0 where the system does not report it. */
function anonymousBytes(pid: number): number {
  try {
    const kilobytes = /^RssAnon:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return Number(kilobytes ?? 0) * 1024;
  } catch {
    return 0;
  }
}

/** Makes the kernel's OOM killer prefer the child. */
function preferAsVictim(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, "1000");
  } catch {
    // The child has ended, or this system has no such file.
  }
}

async function readAnswers(stdout: ReadableStream<Uint8Array>, tooMany: () => void): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stdout) {
    if (text.length < ANSWER_BYTES_MAX) text += decoder.decode(chunk, { stream: true });
    else tooMany();
  }
  return text;
}

/** The child's part: checks PATH with MODE and prints the notes. @returns the exit code */
export function runCheckChild(words: readonly string[]): number {
  const [path = "", word] = words;
  const mode = INTEGRITY_MODES.find((one) => one === word) ?? "full";
  const counts = { problem: 0, unchecked: 0 };
  try {
    inspectDatabase(path, mode, (note) => {
      if (counts[note.kind]++ < NOTES_MAX) answerLine(shortNote(note));
    });
    answerLine({ kind: "end" });
    return 0;
  } catch (error) {
    answerLine({ kind: "failure", message: errorMessage(error) });
    return 1;
  }
}

/** Prints one answer of a child as a line, without buffering. */
export function answerLine(value: object): void {
  const bytes = new TextEncoder().encode(`${JSON.stringify(value)}\n`);
  for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at);
}
