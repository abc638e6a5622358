/**
 * Reads the tables of walrust.toml by the rows of the options: finds the section and the row of each key. An
 * unknown section or key is an error that names the place, and the nearest valid name or the owner.
 */
import type { WalrustError } from "../errors.ts";
import {
  configError,
  type FileContext,
  type FilePosition,
  type FileValue,
  readSecretFile,
  readValue,
} from "./file-values.ts";
import type { OptionSpec } from "./settings/option-spec.ts";
import { keyName, SECTIONS, type Section } from "./settings/options.ts";
import { nearestName } from "./settings/parse-options.ts";
import { locateTomlKeys } from "./toml-positions.ts";

/** A table of the file, and its path in the document. */
export interface TomlTableAt {
  readonly table: Readonly<Record<string, unknown>>;
  readonly path: readonly (string | number)[];
}

/** Reads tables by the rows of the options. */
export class SectionReader {
  readonly #positions: ReturnType<typeof locateTomlKeys>;

  constructor(
    readonly context: FileContext,
    text: string,
  ) {
    this.#positions = locateTomlKeys(text);
  }

  /** The position of a key. */
  at(path: readonly (string | number)[]): FilePosition {
    return this.#positions.positionOf(path) ?? { line: 1, column: 1 };
  }

  /** @throws WalrustError code "config" when there is no such section */
  sectionOf(name: string): Section {
    const found = SECTIONS.find((section) => section.name === name);
    if (found !== undefined) return found;
    const owners = SECTIONS.filter(({ options }) =>
      Object.values(options).some((spec) => keyName(spec) === name),
    ).map((section) => headerOf(section.name));
    const nearest = nearestName(
      name,
      SECTIONS.map((section) => section.name),
    );
    const hint =
      nearest !== null
        ? `Did you mean ${headerOf(nearest)}?`
        : owners.length > 0
          ? `${name} belongs to ${owners.join(" or ")}`
          : `Sections are ${SECTIONS.map((section) => section.name).join(", ")}`;
    throw configError(this.context, this.at([name]), `Unknown section ${JSON.stringify(name)}`, hint);
  }

  /** The tables of a section. @throws WalrustError code "config" when it has another shape */
  tablesOf(section: Section, content: unknown): TomlTableAt[] {
    const { name } = section;
    if (!section.isList && isTable(content)) return [{ table: content, path: [name] }];
    if (section.isList && Array.isArray(content) && content.every(isTable)) {
      return content.map((table, index) => ({ table, path: [name, index] }));
    }
    const header = headerOf(name);
    throw configError(this.context, this.at([name]), `${name} must be written as ${header}`);
  }

  /** The values of one table by `section.key`. @throws WalrustError code "config" */
  read(
    section: Section,
    table: Readonly<Record<string, unknown>>,
    path: readonly (string | number)[],
  ): Map<string, FileValue> {
    const values = new Map<string, FileValue>();
    for (const [key, raw] of Object.entries(table)) {
      const at = this.at([...path, key]);
      const { spec, isFile } = this.#specOf(section, key, at);
      const name = `${section.name}.${key}`;
      const value = isFile
        ? readSecretFile(this.context, spec, name, raw, at)
        : readValue(this.context, spec, name, raw, at);
      const full = spec.key ?? "";
      if (values.has(full))
        throw configError(this.context, at, `${full} is given twice: by itself and as a file`);
      values.set(full, value);
    }
    return values;
  }

  #specOf(section: Section, key: string, at: FilePosition): { spec: OptionSpec; isFile: boolean } {
    const specs = Object.values(section.options);
    const spec = specs.find((one) => keyName(one) === key);
    if (spec !== undefined) return { spec, isFile: false };
    const secret = specs.find((one) => one.isSecret && `${keyName(one)}_file` === key);
    if (secret !== undefined) return { spec: secret, isFile: true };
    const names = specs.flatMap((one) =>
      one.isSecret ? [keyName(one), `${keyName(one)}_file`] : [keyName(one)],
    );
    throw unknownKey(this.context, at, key, section.name, names);
  }
}

/** The header of a section. */
export function headerOf(name: string): string {
  return SECTIONS.some((section) => section.name === name && section.isList) ? `[[${name}]]` : `[${name}]`;
}

/** The error for an unknown key. */
export function unknownKey(
  context: FileContext,
  at: FilePosition,
  key: string,
  sectionName: string,
  names: readonly string[],
): WalrustError {
  const nearest = nearestName(key, names);
  const owners = SECTIONS.filter(
    ({ name, options }) =>
      name !== sectionName && Object.values(options).some((spec) => keyName(spec) === key),
  ).map(({ name }) => headerOf(name));
  const hint =
    owners.length > 0
      ? `${key} belongs to ${owners.join(" or ")}`
      : nearest !== null
        ? `Did you mean ${nearest}?`
        : `Keys are ${names.join(", ")}`;
  return configError(context, at, `Unknown key ${JSON.stringify(key)} in ${headerOf(sectionName)}`, hint);
}

/** Whether a value of the file is a table. */
export function isTable(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}
