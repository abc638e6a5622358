/** A real environment that records its log, so that a test can check lines and count them. */
import { type Env, type Log, type LogLevel, systemEnv } from "../../src/env.ts";

/** One line of the log. */
export interface LoggedLine {
  readonly level: LogLevel;
  readonly message: string;
}

/** The system's clock and random with a log in memory; `overrides` replace fields of the environment. */
export function recordingEnv(overrides: Partial<Env> = {}): { env: Env; lines: LoggedLine[] } {
  const lines: LoggedLine[] = [];
  const at =
    (level: LogLevel) =>
    (message: string): void => {
      lines.push({ level, message });
    };
  const log: Log = { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
  return { env: { ...systemEnv(log), ...overrides }, lines };
}
