/**
 * Single values of walrust.toml: environment variables in texts, secrets in files of their own, the value
 * itself. Where a value stands is part of what it is.
 */
import { resolve } from "node:path";
import { WalrustError } from "../errors.ts";
import type { OptionSpec } from "./settings/option-spec.ts";
import { parseText, parseTomlValue } from "./settings/parse-value.ts";
import { readTextFile } from "./text-file.ts";

/** No secret is longer. */
const SECRET_SIZE_MAX = 64 * 1024;

/** The variables of the process. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** A place in the file; both count from 1. */
export interface FilePosition {
  readonly line: number;
  readonly column: number;
}

/** A checked value, and where its key stands. */
export interface FileValue extends FilePosition {
  readonly value: unknown;
  /** The value is a secret that stands in the file itself, not in a variable or in a file of its own. */
  readonly isPlainSecret?: boolean;
}

/** What reading a value needs to know of its file. */
export interface FileContext {
  /** How the file is called in messages. */
  readonly shownPath: string;
  /** Relative paths in the file are below this. */
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
  // The text of a variable is all there is: it counts as the text of a flag would.
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
 * The content of the file that a `<key>_file` names, without the line end behind it. Its path is not repeated
 * in messages: who mistakes the key writes the secret itself there.
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
  const read = readTextFile(path.value as string, SECRET_SIZE_MAX);
  if ("problem" in read) {
    const hint = `It takes the path of a file that holds the secret, absolute or from ${context.folder}`;
    throw configError(context, at, `${name} names a file that cannot be used: ${read.problem}`, hint);
  }
  const place = { name: `${placeText(context, at)}: the file of ${name}`, code: "config" } as const;
  const value = parseText(spec, read.text.replace(/[\r\n]+$/, ""), {
    ...place,
    context: contextOf(context, at),
  });
  return { value, line: path.line, column: path.column };
}

/** Replaces `${VAR}` in texts, also in lists; `$${` stands for `${` itself. */
function expand(raw: unknown, context: FileContext, name: string, at: FilePosition): unknown {
  if (Array.isArray(raw)) return raw.map((entry) => expand(entry, context, name, at));
  if (typeof raw !== "string") return raw;
  return raw.replace(/\$\$\{|\$\{([^}]*)(\}?)/g, (_, variable: string | undefined, end: string) => {
    if (variable === undefined) return "${";
    if (end === "" || !/^[A-Za-z_]\w*$/.test(variable)) {
      // Without what is there, which may be a secret.
      const hint = `Write "$\{NAME}", or "$$\{" for these two characters themselves`;
      throw configError(context, at, `${name} has a "$\{" that names no variable`, hint);
    }
    const value = context.environment[variable];
    if (value !== undefined) return value;
    throw configError(context, at, `${name} needs the environment variable ${variable}, which is not set`);
  });
}
