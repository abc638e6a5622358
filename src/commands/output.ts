/**
 * What the program says: results on stdout, logs on stderr. The only place that writes to either.
 */
import { createConsola, type LogObject } from "consola";
import type { Log, LogFields, LogLevel } from "../env.ts";
import { systemCode, type WalrustError } from "../errors.ts";

const CONSOLA_LEVELS: Record<LogLevel, number> = { error: 0, warn: 1, info: 3, debug: 4 };

// Whoever reads our output may have had enough of it (`| head`): that is no failure of the work itself.
process.stdout.on("error", (error) => {
  if (systemCode(error) !== "EPIPE") throw error;
});

/** Writes one line of text to stdout. */
export function printLine(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Writes one JSON document as one line to stdout. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

/** A log of the given least severity and format on stderr. */
export function createLog(level: LogLevel, format: "text" | "json"): Log {
  const write = format === "json" ? writeJsonLine : writeTextLine;
  const logger = createConsola({
    level: CONSOLA_LEVELS[level],
    reporters: [{ log: (entry: LogObject) => write(entry) }],
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

function writeTextLine(entry: LogObject): void {
  const { message, fields } = entryParts(entry);
  const { database, hint, ...rest } = fields;
  const severity = entry.type === "info" ? "" : `${entry.type.toUpperCase()} `;
  const who = database === undefined ? "" : `${database}: `;
  const facts = Object.entries(rest)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}=${value}`)
    .join("");
  const advice = hint === undefined ? "" : ` (${hint})`;
  process.stderr.write(`${entry.date.toISOString()} ${severity}${who}${message}${facts}${advice}\n`);
}

function writeJsonLine(entry: LogObject): void {
  const { message, fields } = entryParts(entry);
  const line = { time: entry.date.toISOString(), level: entry.type, message, ...fields };
  process.stderr.write(`${JSON.stringify(line)}\n`);
}

/** Says why the program fails: text on stderr, and with `--json` also one document on stdout. */
export function printError(error: WalrustError, isJson: boolean): void {
  process.stderr.write(`walrust: ${error.message}\n`);
  if (error.hint !== undefined) process.stderr.write(`  ${error.hint}\n`);
  if (!isJson) return;
  const { code, exitCode, message, hint, context } = error;
  printJson({ error: { code, exit: exitCode, message, hint: hint ?? null, context } });
}

/** A progress bar on a terminal; nothing on a pipe. Updated at most ten times a second. */
export class ProgressBar {
  readonly #isShown = process.stderr.isTTY === true;
  #shownAtMs = Number.NEGATIVE_INFINITY;

  constructor(
    readonly label: string,
    readonly monotonicMs: () => number,
  ) {}

  update(done: number, total: number): void {
    if (!this.#isShown) return;
    const nowMs = this.monotonicMs();
    if (nowMs - this.#shownAtMs < 100 && done < total) return;
    this.#shownAtMs = nowMs;
    const width = 30;
    const filled = total === 0 ? width : Math.min(width, Math.round((done / total) * width));
    const bar = `${"█".repeat(filled)}${"░".repeat(width - filled)}`;
    const percent = total === 0 ? 100 : Math.floor((done / total) * 100);
    process.stderr.write(`\r${this.label} ${bar} ${percent}% of ${formatBytes(total)} `);
  }

  clear(): void {
    if (this.#isShown) process.stderr.write("\r\x1b[K");
  }
}

/** A size for people: 3 significant digits, binary units. */
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
