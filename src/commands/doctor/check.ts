/**
 * The result of one check of `walrust doctor`, and the exit code of all of them.
 */
import type { WalrustError } from "../../errors.ts";
import { defaultHint } from "../shared/default-hints.ts";
import type { CheckDocument } from "../shared/documents.ts";

/** The part of the surroundings that a check is about. */
export type CheckArea = CheckDocument["area"];

/** The result of one check. */
export type Check = CheckDocument;

/** Collects the checks of one subject. */
export class Checks {
  readonly all: Check[] = [];

  constructor(
    readonly area: CheckArea,
    readonly subject: string | null,
  ) {}

  /** All is well. */
  ok(check: string, message: string): void {
    this.#add(check, "ok", message, null, 0);
  }

  /** It works, and somebody should know. */
  warning(check: string, message: string, hint: string): void {
    this.#add(check, "warning", message, hint, 0);
  }

  /** It does not work. */
  failure(check: string, { message, hint, code, exitCode }: WalrustError): void {
    this.#add(check, "failure", message, hint ?? defaultHint(code) ?? null, exitCode);
  }

  #add(check: string, status: Check["status"], message: string, hint: string | null, exit: number): void {
    const { area, subject } = this;
    this.all.push({ area, check, subject, status, message, hint, exit });
  }
}

/** The exit code of the worst failure, which is the highest; 0 when there are only warnings. */
export function exitCodeOf(checks: readonly Check[]): number {
  return Math.max(0, ...checks.map(({ exit }) => exit));
}
