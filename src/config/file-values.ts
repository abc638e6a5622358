/**
 * Single values of walrust.toml: replaces environment variables in texts, reads secrets from files of their
 * own, and checks the value. Each value carries its position.
 */
import { resolve } from "node:path";
import { WalrustError } from "../errors.ts";
import { expandHome } from "./settings/home-path.ts";
import type { OptionSpec } from "./settings/option-spec.ts";
import { parseText, parseTomlValue } from "./settings/parse-value.ts";
import { readTextFile } from "./text-file.ts";

/** Limit of a secret, in bytes. */
const SECRET_SIZE_MAX = 64 * 1024;

/** The variables of the process. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** A place in the file; both count from 1. */
export interface FilePosition {
  readonly line: number;
  readonly column: number;
}

/** A checked value, and the position of its key. */
export interface FileValue extends FilePosition {
  readonly value: unknown;
  /** The secret is written in the file itself, not in a variable or in a file of its own. */
  readonly isPlainSecret?: boolean;
  /** Reads a secret from its own file again. @throws WalrustError code "config" */
  readonly reread?: () => unknown;
}

/** The facts of a file that reading a value needs. */
export interface FileContext {
  /** The name of the file in messages. */
  readonly shownPath: string;
  /** The folder that relative paths in the file start at. */
  readonly folder: string;
  readonly environment: Environment;
}

/** `walrust.toml:5:3`. */
export function placeText(context: Pick<FileContext, "shownPath">, { line, column }: FilePosition): string {
  return `${context.shownPath}:${line}:${column}`;
}

/** An error about a place in the file. */
export function configError(
  context: Pick<FileContext, "shownPath">,
  at: FilePosition,
  message: string,
  hint?: string,
): WalrustError {
  return new WalrustError("config", `${placeText(context, at)}: ${message}`, {
    context: contextOf(context, at),
    ...(hint === undefined ? {} : { hint }),
  });
}

function contextOf({ shownPath }: Pick<FileContext, "shownPath">, { line, column }: FilePosition) {
  return { file: shownPath, line, column };
}

/**
 * The value of a key.
 * @param name the key with its section, for messages
 * @throws WalrustError code "config": a wrong type, out of range, an environment variable that is not set
 */
export function readValue(
  context: FileContext,
  spec: OptionSpec,
  name: string,
  raw: unknown,
  at: FilePosition,
): FileValue {
  const place = {
    name: `${placeText(context, at)}: ${name}`,
    code: "config",
    context: contextOf(context, at),
  } as const;
  const expanded = expand(raw, context, name, at);
  // A variable holds text only, so its value is parsed like the text of a flag.
  const isFromVariable = typeof expanded === "string" && expanded !== raw && spec.kind !== "text";
  const value = isFromVariable ? parseText(spec, expanded, place) : parseTomlValue(spec, expanded, place);
  const isPath = spec.isPath && typeof value === "string";
  const isPlainSecret = (spec.isSecret || spec.isPrivateUrl) && expanded === raw;
  return {
    value: isPath ? resolve(context.folder, value) : value,
    line: at.line,
    column: at.column,
    ...(isPlainSecret ? { isPlainSecret } : {}),
  };
}

/**
 * Reads the file that a `<key>_file` names, without the line end at its end. No message repeats the path: a
 * user who mistakes the key writes the secret itself there.
 * @throws WalrustError code "config" when it cannot be read, is empty, or is more than one line
 */
export function readSecretFile(
  context: FileContext,
  spec: OptionSpec,
  name: string,
  raw: unknown,
  at: FilePosition,
): FileValue {
  const pathSpec: OptionSpec = { kind: "text", meaning: spec.meaning, isPath: true, isSecret: true };
  const path = readValue(context, pathSpec, name, raw, at);
  const reread = (): unknown => {
    const read = readTextFile(path.value as string, SECRET_SIZE_MAX);
    if ("problem" in read) {
      const hint = `Give the path of a file that holds the secret, absolute or relative to ${context.folder}`;
      throw configError(context, at, `Cannot use the file that ${name} names: ${read.problem}`, hint);
    }
    const place = { name: `${placeText(context, at)}: the file of ${name}`, code: "config" } as const;
    return parseText(spec, withoutLineEnd(read.text), { ...place, context: contextOf(context, at) });
  };
  return { value: reread(), line: path.line, column: path.column, reread };
}

/**
 * Reads the file that an environment variable names, by the same rules.
 * @throws WalrustError code "config"
 */
export function readSecretText(path: string, spec: OptionSpec, variable: string): unknown {
  const read = readTextFile(resolve(expandHome(path)), SECRET_SIZE_MAX);
  if ("problem" in read) {
    throw new WalrustError("config", `Cannot use the file that ${variable} names: ${read.problem}`, {
      hint: "Give the path of a file that holds the secret",
    });
  }
  return parseText(spec, withoutLineEnd(read.text), { name: `the file of ${variable}`, code: "config" });
}

function withoutLineEnd(text: string): string {
  return text.replace(/[\r\n]+$/, "");
}

/** Replaces `${VAR}` in texts, also in lists; `$${` stands for `${` itself. */
function expand(raw: unknown, context: FileContext, name: string, at: FilePosition): unknown {
  if (Array.isArray(raw)) return raw.map((entry) => expand(entry, context, name, at));
  if (typeof raw !== "string") return raw;
  return raw.replace(/\$\$\{|\$\{([^}]*)(\}?)/g, (_, variable: string | undefined, end: string) => {
    if (variable === undefined) return "${";
    if (end === "" || !/^[A-Za-z_]\w*$/.test(variable)) {
      // The message leaves out the text, which may be a secret.
      const hint = `Write "$\{NAME}", or "$$\{" for these two characters themselves`;
      throw configError(context, at, `${name} has a "$\{" without the name of a variable`, hint);
    }
    const value = context.environment[variable];
    if (value !== undefined) return value;
    throw configError(context, at, `${name} needs the environment variable ${variable}, which is not set`);
  });
}
