/**
 * Every failure that walrust reports is a WalrustError: what could not be done, the state found, and a hint.
 * One table maps the code of an error to the exit code of the process; only main.ts exits.
 */

/** Exit code by error code. The classes are those of the contract with users. */
export const EXIT_CODES = {
  internal: 1,
  "verify-warnings": 1,
  config: 2,
  usage: 2,
  database: 3,
  "database-busy": 3,
  "not-wal": 3,
  "foreign-wal": 3,
  locked: 3,
  storage: 4,
  "not-found": 4,
  precondition: 4,
  "missing-bucket": 4,
  auth: 4,
  "foreign-writer": 4,
  integrity: 5,
  corrupt: 5,
  restore: 6,
} as const;

/** The stable name of a kind of failure. */
export type ErrorCode = keyof typeof EXIT_CODES;

/** The parts of a WalrustError beside its message. */
export interface ErrorDetails {
  /** The remedy, as a sentence to the user. */
  readonly hint?: string;
  /** Facts for logs and `--json`: keys, offsets, TXIDs. Never a secret. */
  readonly context?: Readonly<Record<string, string | number | boolean>>;
  /** Whether the same call may succeed later although nobody acts. */
  readonly retryable?: boolean;
  readonly cause?: unknown;
}

/** A failure with a code, a hint and context. Subclasses exist only where callers branch on them. */
export class WalrustError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly context: Readonly<Record<string, string | number | boolean>>;
  readonly retryable: boolean;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "WalrustError";
    this.code = code;
    this.hint = details.hint;
    this.context = details.context ?? {};
    this.retryable = details.retryable ?? false;
  }

  /** The exit code of a process that this error ends. */
  get exitCode(): number {
    return EXIT_CODES[this.code];
  }
}

/** The message of a thrown value. */
export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** A thrown value as a WalrustError. Any other error is a bug of walrust and gets the code "internal". */
export function asWalrustError(error: unknown): WalrustError {
  if (error instanceof WalrustError) return error;
  return new WalrustError("internal", errorMessage(error), { cause: error });
}

/** Whether `error` is a WalrustError with this code. */
export function hasCode(error: unknown, code: ErrorCode): error is WalrustError {
  return error instanceof WalrustError && error.code === code;
}

/** The system's name for a failed file operation ("ENOENT", "ENOSPC"), or undefined. */
export function systemCode(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : undefined;
}

/**
 * The health that each condition implies, by its code. Codes are part of /health and never renamed;
 * src/observability/README.md lists each with its remedy.
 */
export const CONDITION_HEALTH = {
  "bucket-unchecked": "degraded",
  "clock-behind": "degraded",
  "deleted-in-use": "unhealthy",
  "deletes-refused": "degraded",
  "disk-full": "unhealthy",
  "disk-nearly-full": "degraded",
  "falling-behind": "degraded",
  "foreign-wal": "unhealthy",
  "more-than-one-name": "unhealthy",
  "name-leads-nowhere": "degraded",
  "not-restorable": "unhealthy",
  "not-shared": "unhealthy",
  "not-the-store": "unhealthy",
  "store-silent": "degraded",
  "validation-failed": "unhealthy",
  "weak-writes": "degraded",
} as const;

/** The stable name of a kind of condition. */
export type ConditionCode = keyof typeof CONDITION_HEALTH;

/** The conditions of this machine, not of the store, among those that all databases share. */
const MACHINE_CONDITIONS: ReadonlySet<string> = new Set(["disk-full", "disk-nearly-full"]);

/** Whether a condition is one of this machine. */
export function isOfMachine({ code }: Pick<Condition, "code">): boolean {
  return MACHINE_CONDITIONS.has(code);
}

/** A lasting state that an operator should know of: raised when it begins, cleared when it ends. */
export interface Condition {
  /** A set of conditions holds at most one of each code. */
  readonly code: ConditionCode;
  /** `unhealthy` when commits may be without a backup, else `degraded`. */
  readonly health: "degraded" | "unhealthy";
  /** The state, as a sentence. Never a secret. */
  readonly message: string;
  /** The remedy, as a sentence to the user. */
  readonly hint?: string;
}

/** Receives conditions. The parts that find conditions know nothing else of health. */
export interface ConditionSink {
  /** Begins a condition, or replaces the one with the same code. */
  raise(condition: Condition): void;
  /** Ends the condition with this code, if there is one. */
  clear(code: ConditionCode): void;
}

/** Ignores every condition: for one-off commands, whose errors report the state. */
export const NO_CONDITIONS: ConditionSink = { raise: () => {}, clear: () => {} };
