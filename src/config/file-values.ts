/**
 * Single values of walrust.toml: environment variables in texts, secrets in files of their own, the value
 * itself. Where a value stands is part of what it is.
 */
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { systemCode, WalrustError } from "../errors.ts";
import type { OptionSpec } from "./option-spec.ts";
import { parseText, parseTomlValue } from "./parse-value.ts";

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
  const { line, column } = at;
  return new WalrustError("config", `${placeText(context, at)}: ${message}`, {
    context: { file: context.shownPath, line, column },
    ...(hint === undefined ? {} : { hint }),
  });
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
  const place = { name: `${placeText(context, at)}: ${name}`, code: "config" } as const;
  const expanded = expand(raw, context, place.name);
  // The text of a variable is all there is: it counts as the text of a flag would.
  const isFromVariable = typeof expanded === "string" && expanded !== raw && spec.kind !== "text";
  const value = isFromVariable ? parseText(spec, expanded, place) : parseTomlValue(spec, expanded, place);
  const isPath = spec.isPath && typeof value === "string";
  return { value: isPath ? resolve(context.folder, value) : value, line: at.line, column: at.column };
}

/**
 * The content of the file that a `<key>_file` names, without the line end behind it.
 * @throws WalrustError code "config" when it cannot be read or is empty
 */
export function readSecretFile(
  context: FileContext,
  spec: OptionSpec,
  name: string,
  raw: unknown,
  at: FilePosition,
): FileValue {
  const path = readValue(context, { kind: "text", meaning: spec.meaning, isPath: true }, name, raw, at);
  let text: string;
  try {
    text = readFileSync(path.value as string, "utf8");
  } catch (error) {
    const why = systemCode(error) ?? "it cannot be read";
    throw configError(context, at, `${name} names ${path.value}: ${why}`);
  }
  const value = text.replace(/\r?\n$/, "");
  if (value === "") throw configError(context, at, `${name} names ${path.value}, which is empty`);
  return { ...path, value };
}

/** Replaces `${VAR}` in texts, also in lists; `$${` stands for `${` itself. */
function expand(raw: unknown, context: FileContext, name: string): unknown {
  if (Array.isArray(raw)) return raw.map((entry) => expand(entry, context, name));
  if (typeof raw !== "string") return raw;
  return raw.replace(/\$\$\{|\$\{([^}]*)(\}?)/g, (_, variable: string | undefined, end: string) => {
    if (variable === undefined) return "${";
    if (end === "" || !/^[A-Za-z_]\w*$/.test(variable)) {
      // Without what is there, which may be a secret.
      throw new WalrustError("config", `${name} has a "$\{" that names no variable`, {
        hint: `Write "$\{NAME}", or "$$\{" for these two characters themselves`,
      });
    }
    const value = context.environment[variable];
    if (value !== undefined) return value;
    throw new WalrustError("config", `${name} needs the environment variable ${variable}, which is not set`);
  });
}
