/**
 * Prints results to stdout, and logs and errors to stderr. No other file writes to either.
 */
import { createConsola, type LogObject } from "consola";
import type { Log, LogFields, LogLevel } from "../../env.ts";
import type { WalrustError } from "../../errors.ts";
import { jsonLine, oneLine } from "../../observability/terminal-text.ts";
import { OutputChannel } from "./output-channel.ts";

const CONSOLA_LEVELS: Record<LogLevel, number> = { error: 0, warn: 1, info: 3, debug: 4 };

/** The most bytes of events or log lines that wait for a reader; further ones are dropped. */
const WAITING_BYTES_MAX = 8 * 1024 * 1024;

const stdout = new OutputChannel("stdout");
const stderr = new OutputChannel("stderr");

/** The reason why a result could not be written, or null. */
let lostResult: string | null = null;

function printResult(text: string): void {
  // On one terminal, a bar on stderr would stand before the text.
  if (process.stdout.isTTY === true) stderr.showBar(null);
  stdout.write(`${text}\n`, Number.POSITIVE_INFINITY, (reason) => {
    lostResult ??= reason;
  });
}

/** Writes one line of text to stdout. */
export function printLine(text: string): void {
  printResult(oneLine(text));
}

/** Writes lines of text to stdout. */
export function printText(text: string): void {
  printResult(text.split("\n").map(oneLine).join("\n"));
}

/** Writes one JSON document as one line to stdout. */
export function printJson(value: unknown): void {
  printResult(jsonLine(value));
}

/** The logs that hold the warning about dropped events. */
const unread = new WeakSet<Log>();

/**
 * Writes an event as one line of JSON to stdout. Events are dropped while nobody reads them or the disk is
 * full. The log gets one warning, and the work goes on.
 */
export function printEvent(event: unknown, log: Log): void {
  const failed = (reason: string): void => {
    // EPIPE: the reader has enough (`| head`).
    if (unread.has(log) || reason === "EPIPE") return;
    unread.add(log);
    log.warn(`cannot write events to stdout: ${reason}; they are dropped, replication goes on`);
  };
  const line = `${jsonLine(event)}\n`;
  if (!stdout.write(line, WAITING_BYTES_MAX, failed)) failed("nobody reads them");
}

/** Resolves when all text was written, or failed. */
export async function flushOutput(): Promise<void> {
  await Promise.all([stdout.flushed(), stderr.flushed()]);
}

/** The reason why results could not be written to stdout, or null. A reader that left is no failure. */
export function outputFailure(): string | null {
  return lostResult === "EPIPE" ? null : lostResult;
}

/** A log on stderr, of the given least severity and format. */
export function createLog(level: LogLevel, format: "text" | "json"): Log {
  const toLine = format === "json" ? entryAsJson : entryAsText;
  const logger = createConsola({
    level: CONSOLA_LEVELS[level],
    reporters: [{ log: (entry: LogObject) => stderr.write(`${toLine(entry)}\n`, WAITING_BYTES_MAX) }],
    throttle: 0,
  });
  return {
    debug: (message, fields) => logger.debug({ message, args: [fields] }),
    info: (message, fields) => logger.info({ message, args: [fields] }),
    warn: (message, fields) => logger.warn({ message, args: [fields] }),
    error: (message, fields) => logger.error({ message, args: [fields] }),
  };
}

function entryParts(entry: LogObject): { message: string; fields: Record<string, unknown> } {
  const [message, fields] = entry.args as [string, LogFields | undefined];
  return { message: String(message), fields: { ...fields } };
}

function entryAsText(entry: LogObject): string {
  const { message, fields } = entryParts(entry);
  const { database, hint, ...rest } = fields;
  const severity = entry.type === "info" ? "" : `${entry.type.toUpperCase()} `;
  const who = database === undefined ? "" : `${database}: `;
  const facts = Object.entries(rest)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}=${value}`)
    .join("");
  const advice = hint === undefined ? "" : ` (${hint})`;
  return oneLine(`${entry.date.toISOString()} ${severity}${who}${message}${facts}${advice}`);
}

function entryAsJson(entry: LogObject): string {
  const { message, fields } = entryParts(entry);
  const { time: _, level: __, message: ___, ...facts } = fields;
  return jsonLine({ time: entry.date.toISOString(), level: entry.type, message, ...facts });
}

/** A failure as it is printed. */
export type PrintedFailure = Pick<WalrustError, "exitCode" | "message" | "hint" | "context"> & {
  readonly code: string;
};

/** Prints a failure: as text on stderr, and with `--json` also as one document on stdout. */
export function printError(error: PrintedFailure, isJson: boolean): void {
  stderr.showBar(null);
  const { code, exitCode, message, hint, context } = error;
  stderr.write(`walrust: ${oneLine(message)}\n${hint === undefined ? "" : `  ${oneLine(hint)}\n`}`);
  if (isJson) printJson({ error: { code, exit: exitCode, message, hint: hint ?? null, context } });
}

/** Prints the stack trace of an internal error to stderr. */
export function printTrace(error: Error): void {
  stderr.write(`${error.stack?.split("\n").map(oneLine).join("\n")}\n`);
}

/** The most bytes that wait for a terminal before a bar is not drawn again. */
const BAR_BYTES_MAX = 4_096;

/** Shows a text as the last line of the terminal on stderr, or removes it. */
export function showBar(text: string | null): void {
  stderr.showBar(text, BAR_BYTES_MAX);
}

/** Writes one JSON document as one line to stderr. */
export function writeJsonLine(value: unknown): void {
  stderr.write(`${jsonLine(value)}\n`, WAITING_BYTES_MAX);
}

/** The width of the terminal on stderr. */
export function terminalColumns(): number {
  return process.stderr.columns ?? 80;
}

/** A size as text: 3 significant digits, binary units. */
export function formatBytes(byteCount: number): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let value = byteCount;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  const text = unit === 0 || value >= 100 ? String(Math.round(value)) : value.toPrecision(3);
  return `${text} ${units[unit]}`;
}

/** A table as lines: a head, and cells padded to the width of their column. */
export function tableLines(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]!.length)),
  );
  return [head, ...rows].map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join("  ")
      .trimEnd(),
  );
}

/** A count with its noun: `1 object`, `2 objects`. */
export function countOf(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
