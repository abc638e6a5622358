/**
 * Makes `src/python/walrust/documents.py` from the TypeScript types of the JSON documents, as the compiler
 * resolves them: a class for each object, and a union for each kind of event. A change of a document thus
 * changes the types of the Python package, or fails the check of the reference.
 */
import { type Checker, SymbolFlags, type Type, type UnionType } from "typescript/unstable/async";
import { DocumentTypes } from "./document-types.ts";
import { commentLines, docstring, literalText, typedLine } from "./python-text.ts";

/**
 * The documents in the order of the module: the name of the type, and the prefix of the names of its events.
 */
const DOCUMENTS: readonly (readonly [name: string, events?: string])[] = [
  ["SnapshotDocument"],
  ["ListDocument"],
  ["RestoreDocument"],
  ["NothingRestoredDocument"],
  ["VerifyDocument"],
  ["ExplainDocument"],
  ["WatchDocument", "Watch"],
  ["ReplicaDocument", "Replica"],
  ["DroppedEvents"],
];

/** Names in Python for types whose name in TypeScript is taken. */
const RENAMED: Readonly<Record<string, string>> = { DatabaseOfExplain: "ExplainedDatabase" };

/** Numbers with a fraction. JSON tells none apart, and a TXID must not be a float in Python. */
const FRACTIONS = /(_ms|_seconds|_usd|_per_second|_per_commit|^compressed_to|^value)$/;

/** A union of more texts than this has a name of its own. */
const INLINE_TEXTS_MAX = 6;

/** Words that cannot be the name of an attribute. */
const KEYWORDS = ["from", "in", "is", "not", "class", "pass"];

const HEAD = `"""The JSON documents of walrust as typed dictionaries.

Units: \`…bytes\` in bytes, \`…_ms\` in milliseconds. \`time\` and \`at\` are RFC 3339 in UTC.
Later versions of walrust add keys and remove none.

Made by scripts/reference.ts from the types of the documents; do not edit.
"""

from __future__ import annotations

from typing import Literal, Optional, TypedDict, Union
`;

/** The text of the module. @throws Error for a type that has no counterpart in Python */
export async function pythonDocuments(): Promise<string> {
  const types = await DocumentTypes.load();
  try {
    const module = new DocumentsModule(types.checker);
    for (const [name, events] of DOCUMENTS) await module.addDocument(name, await types.typeOf(name), events);
    return module.text();
  } finally {
    await types.close();
  }
}

/** The place of a type, which names it if it has no name of its own. */
interface Place {
  readonly owner: string;
  readonly key: string;
  readonly isElement: boolean;
}

class DocumentsModule {
  /** Source by name, in an order in which each class stands before its uses. */
  readonly #parts = new Map<string, string>();
  /** Names of long lists of texts. */
  readonly #lists = new Map<string, string>();
  readonly #checker: Checker;

  constructor(checker: Checker) {
    this.#checker = checker;
  }

  text(): string {
    const names = [...this.#parts.keys()].filter((name) => name !== "").toSorted();
    const all = `\n__all__ = [\n${names.map((name) => `    "${name}",\n`).join("")}]\n`;
    return [HEAD, all, ...[...this.#parts.values()].map((part) => `\n\n${part}`)].join("");
  }

  async addDocument(name: string, type: Type, events: string | undefined): Promise<void> {
    if (events === undefined) {
      await this.#addClass(name, type);
      return;
    }
    if (!type.isUnionType()) throw new Error(`${name} is no union of events`);
    const named = await Promise.all(
      (await type.getTypes()).map(async (member) => ({ member, event: await this.#eventOf(member) })),
    );
    const names: string[] = [];
    // The compiler's order of a union depends on the order of its work.
    for (const { member, event } of named.toSorted((a, b) => (a.event < b.event ? -1 : 1))) {
      const own = `${events}${pascal(event)}`;
      await this.#addClass(own, member, `The event \`${event}\`.`);
      names.push(own);
    }
    const comment = commentLines(
      `A line of \`${events.toLowerCase()}\`: \`event\` tells the kinds apart.`,
      "",
    );
    const union = typedLine(`${name} = `, `Union[${names.join(", ")}]`, "", "");
    this.#parts.set(name, `${comment.replace("`replica`", "`replicate`")}${union}`);
  }

  async #eventOf(member: Type): Promise<string> {
    const properties = await this.#checker.getPropertiesOfType(member);
    const event = properties.find(({ name }) => name === "event");
    const type = event === undefined ? undefined : await this.#checker.getTypeOfSymbol(event);
    if (type?.isStringLiteralType()) return type.value;
    throw new Error("a member of a union has no event");
  }

  async #addClass(name: string, type: Type, about?: string): Promise<string> {
    if (this.#parts.has(name)) return name;
    const fields: { key: string; type: string; comment: string }[] = [];
    for (const symbol of await this.#checker.getPropertiesOfType(type)) {
      const key = symbol.name;
      if ((symbol.flags & SymbolFlags.Optional) !== 0) throw new Error(`${name}.${key} is optional`);
      const own = await this.#checker.getTypeOfSymbol(symbol);
      if (own === undefined) throw new Error(`${name}.${key} has no type`);
      const comment = await this.#checker.getDocumentationCommentOfSymbol(symbol);
      const place = { owner: name, key, isElement: false };
      fields.push({ key, type: await this.#typeText(own, place), comment });
    }
    const symbol = (await type.getAliasSymbol()) ?? (await type.getSymbol());
    const found = symbol === undefined ? "" : await this.#checker.getDocumentationCommentOfSymbol(symbol);
    this.#parts.set(name, classText(name, fields, about ?? (found === "" ? null : found)));
    return name;
  }

  async #typeText(type: Type, place: Place): Promise<string> {
    if (type.isUnionType()) return await this.#namedUnionText(type, place);
    if (type.isStringLiteralType()) return literalText([type.value]);
    if (type.isBooleanLiteralType()) return `Literal[${type.value ? "True" : "False"}]`;
    if (type.isIntrinsicType()) return intrinsicText(type.intrinsicName, place);
    if (await this.#checker.isArrayLikeType(type)) {
      const [element] = type.isTypeReference() ? await this.#checker.getTypeArguments(type) : [];
      if (element === undefined) throw new Error(`${place.owner}.${place.key} is an array of nothing`);
      return `list[${await this.#typeText(element, { ...place, isElement: true })}]`;
    }
    const [index] = await this.#checker.getIndexInfosOfType(type);
    if (index !== undefined) return `dict[str, ${await this.#typeText(index.valueType, place)}]`;
    if (type.isObjectType() || type.isIntersectionType()) {
      return await this.#addClass(await nameOf(type, place), type);
    }
    throw new Error(`${place.owner}.${place.key} has a type without a counterpart in Python`);
  }

  /** A long list of texts, such as the codes of findings, has the name of its first use. */
  async #namedUnionText(type: UnionType, place: Place): Promise<string> {
    const text = await this.#unionText(await type.getTypes(), place);
    if (!text.startsWith("Literal[") || text.split(", ").length <= INLINE_TEXTS_MAX) return text;
    const known = this.#lists.get(text);
    if (known !== undefined) return known;
    const name = `${place.owner}${pascal(place.key)}`;
    this.#lists.set(text, name);
    this.#parts.set(name, typedLine(`${name} = `, text, "", ""));
    return name;
  }

  /** Null becomes `Optional`, all texts together one `Literal`, and the rest a `Union`. */
  async #unionText(members: readonly Type[], place: Place): Promise<string> {
    const texts: string[] = [];
    const others = new Set<string>();
    let isOptional = false;
    for (const member of members) {
      if (member.isStringLiteralType()) texts.push(member.value);
      else if (member.isIntrinsicType() && member.intrinsicName === "null") isOptional = true;
      else others.add(await this.#typeText(member, place));
    }
    // The compiler takes a boolean for a union of its values.
    if (others.delete("Literal[True]") && others.delete("Literal[False]")) others.add("bool");
    const literal = texts.length === 0 ? [] : [literalText(texts.toSorted())];
    const all = [...literal, ...[...others].toSorted()];
    const text = all.length === 1 ? all[0]! : `Union[${all.join(", ")}]`;
    return isOptional ? `Optional[${text}]` : text;
  }
}

function intrinsicText(name: string, { owner, key }: Place): string {
  if (name === "string") return "str";
  if (name === "boolean") return "bool";
  if (name === "null") return "None";
  if (name === "number") return FRACTIONS.test(key) ? "float" : "int";
  throw new Error(`${owner}.${key} is ${name}, which has no counterpart in Python`);
}

/** The name of an object's class: its own, or that of its owner with the key. */
async function nameOf(type: Type, { owner, key, isElement }: Place): Promise<string> {
  const symbol = (await type.getAliasSymbol()) ?? (await type.getSymbol());
  const own = symbol?.name ?? "";
  if (/^[A-Z]/.test(own)) return RENAMED[own] ?? own;
  const one = isElement ? key.replace(/ies$/, "y").replace(/s$/, "") : key;
  return `${owner.replace(/Document$/, "")}${pascal(one)}`;
}

function classText(
  name: string,
  fields: readonly { readonly key: string; readonly type: string; readonly comment: string }[],
  about: string | null,
): string {
  if (fields.some(({ key }) => KEYWORDS.includes(key))) {
    const rows = fields.map(({ key, type, comment }) => {
      const lines = comment === "" ? "" : commentLines(comment, "        ");
      return `${lines}${typedLine(`"${key}": `, type, ",", "        ")}`;
    });
    const head = about === null ? "" : commentLines(about, "");
    return `${head}${name} = TypedDict(\n    "${name}",\n    {\n${rows.join("")}    },\n)\n`;
  }
  const rows = fields.map(({ key, type, comment }) => {
    const lines = comment === "" ? "" : commentLines(comment, "    ");
    return `${lines}${typedLine(`${key}: `, type, "", "    ")}`;
  });
  const doc = about === null ? "" : `${docstring(about, "    ")}\n`;
  return `class ${name}(TypedDict):\n${doc}${rows.join("")}`;
}

function pascal(text: string): string {
  return text
    .split(/[-_]/)
    .map((word) => `${word.charAt(0).toUpperCase()}${word.slice(1)}`)
    .join("");
}
