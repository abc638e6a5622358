/** Random TOML documents in every notation. The writer records the place of each key and value. */
import fc from "fast-check";
import type { TomlPath } from "../../src/config/toml-positions.ts";

/** The choices of notation, from a stream that fast-check can shrink. */
export class Writer {
  text = "";
  /** Offsets of key and value, by path as JSON. */
  readonly places = new Map<string, { key: number; value: number }>();
  #at = 0;

  constructor(
    readonly choices: readonly number[],
    readonly lineEnd: string,
  ) {}

  pick<T>(options: readonly T[]): T {
    const choice = this.choices[this.#at++ % this.choices.length]!;
    return options[choice % options.length]!;
  }

  put(...texts: string[]): void {
    this.text += texts.join("");
  }

  blank(): void {
    this.put(this.pick(["", " ", "\t "]));
  }

  endLine(): void {
    this.put(
      this.pick(["", " ", " # [x] = {\"'", '\t#"""']),
      this.lineEnd,
      this.pick(["", this.lineEnd, "\t# a=1\n"]),
    );
    this.blank();
  }

  /** A line break or space inside brackets, where TOML allows one. */
  gap(): void {
    this.put(this.pick(["", " ", this.lineEnd, ` # ]}, 😀${this.lineEnd}\t`]));
  }

  place(path: TomlPath, key: number, value: number): void {
    const name = JSON.stringify(path);
    if (!this.places.has(name)) this.places.set(name, { key, value });
  }

  /** Writes a key; returns the offset of each part. */
  key(names: readonly string[]): number[] {
    return names.map((name, index) => {
      if (index > 0) {
        this.blank();
        this.put(".");
        this.blank();
      }
      const at = this.text.length;
      const escaped = [...name]
        .map((one) => `\\U${one.codePointAt(0)!.toString(16).padStart(8, "0")}`)
        .join("");
      const forms = [JSON.stringify(name), `"${escaped}"`];
      if (/^[\w-]+$/.test(name)) forms.push(name, name, name);
      if (!name.includes("'")) forms.push(`'${name}'`);
      this.put(this.pick(forms));
      return at;
    });
  }
}

type Value =
  | { readonly kind: "scalar"; readonly raw: string }
  | { readonly kind: "array"; readonly items: readonly Value[] }
  | { readonly kind: "inline" | "table" | "dotted"; readonly entries: Entries }
  | { readonly kind: "tables"; readonly elements: readonly Entries[] };
type Entries = readonly (readonly [name: string, value: Value])[];

const isHeader = ({ kind }: Value): boolean => kind === "table" || kind === "tables";

function writeValue(out: Writer, path: TomlPath, value: Value): void {
  if (value.kind === "scalar") return out.put(value.raw);
  const isArray = value.kind === "array";
  out.put(isArray ? "[" : "{");
  const count = isArray ? value.items.length : value.kind === "tables" ? 0 : value.entries.length;
  for (let index = 0; index < count; index++) {
    out.gap();
    if (isArray) {
      out.place([...path, index], out.text.length, out.text.length);
      writeValue(out, [...path, index], value.items[index]!);
    } else if (value.kind !== "tables") writePair(out, path, [], ...value.entries[index]!, true);
    out.gap();
    if (index < count - 1 || out.pick([true, false])) out.put(",");
  }
  out.gap();
  out.put(isArray ? "]" : "}");
}

/** `dotted` has the names between the table at `path` and the key. */
function writePair(
  out: Writer,
  path: TomlPath,
  dotted: readonly string[],
  name: string,
  value: Value,
  isInline = false,
): void {
  const names = [...dotted, name];
  if (value.kind === "dotted" && value.entries.length > 0 && !isInline) {
    for (const [inner, content] of value.entries) writePair(out, path, names, inner, content);
    return;
  }
  const offsets = out.key(names);
  out.blank();
  out.put("=");
  out.blank();
  for (const [index, offset] of offsets.entries()) {
    out.place([...path, ...names.slice(0, index + 1)], offset, offsets[index + 1] ?? out.text.length);
  }
  writeValue(out, [...path, ...names], value);
  if (!isInline) out.endLine();
}

function writeHeader(out: Writer, path: TomlPath, isElement: boolean): void {
  const names = path.filter((step) => typeof step === "string");
  const start = out.text.length;
  out.put(isElement ? "[[" : "[");
  out.blank();
  const offsets = out.key(names);
  out.blank();
  out.put(isElement ? "]]" : "]");
  let named = 0;
  for (const [index, step] of path.entries()) {
    const at = path.slice(0, index + 1);
    if (typeof step === "number") out.place(at, start, start);
    else out.place(at, offsets[named++]!, start);
    // The table's own header overrides the place from a header that implied it.
    const isOwn = index === path.length - 1 && typeof step === "string";
    if (isOwn) out.places.set(JSON.stringify(at), { key: offsets[named - 1]!, value: start });
  }
  out.endLine();
}

function writeTable(out: Writer, path: TomlPath, entries: Entries, header: "table" | "element" | null): void {
  const own = () => {
    if (header !== null) writeHeader(out, path, header === "element");
    for (const [name, value] of entries) if (!isHeader(value)) writePair(out, path, [], name, value);
  };
  const hasSubTables = entries.some(([, value]) => isHeader(value));
  const isLate = header === "table" && hasSubTables && out.pick([false, true]);
  if (!isLate) own();
  for (const [name, value] of entries) {
    const below = [...path, name];
    if (value.kind === "table") writeTable(out, below, value.entries, "table");
    if (value.kind !== "tables") continue;
    for (const [index, element] of value.elements.entries()) {
      writeTable(out, [...below, index], element, "element");
    }
  }
  if (isLate) own();
}

const SCALARS = [
  ...["1", "-1_000", "0xdead_beef", "3.14e+2", "-inf", "nan", "true", "false"],
  ...["1979-05-27T07:32:00Z", "1979-05-27 07:32:00.5-07:00", "1979-05-27", "07:32:00"],
  ...['""', '"# = [{"', '"\\"\\\\\\u00e9\\e\\x41"', "''", "'\\'", "'\"# ]}'", '"😀"'],
  ...['""""""', '"""\n[a]\r\nb = 1 \\""" \\  \n  "" """""', "''''''", "'''\n[a]\n''\"\\\r\n'''''"],
];
const name = fc.oneof(
  fc.constantFrom("a", "b", "path", "x-1", "7"),
  fc.string({ unit: fc.constantFrom("a", " ", ".", '"', "'", "=", "]", "#", "é", "😀"), maxLength: 4 }),
);
const { table: documents } = fc.letrec<{ value: Value; plain: Value; table: Entries; pairs: Entries }>(
  (tie) => ({
    plain: fc.oneof(
      { maxDepth: 4, depthSize: "small" },
      fc.record({ kind: fc.constant("scalar"), raw: fc.constantFrom(...SCALARS) }),
      fc.record({ kind: fc.constant("array"), items: fc.array(tie("plain"), { maxLength: 3 }) }),
      fc.record({ kind: fc.constantFrom("inline", "dotted"), entries: tie("pairs") }),
    ) as fc.Arbitrary<Value>,
    pairs: fc.uniqueArray(fc.tuple(name, tie("plain")), { maxLength: 3, selector: ([key]) => key }),
    value: fc.oneof(
      { maxDepth: 4, depthSize: "small" },
      tie("plain"),
      fc.record({ kind: fc.constant("table"), entries: tie("table") }),
      fc.record({
        kind: fc.constant("tables"),
        elements: fc.array(tie("table"), { minLength: 1, maxLength: 3 }),
      }),
    ) as fc.Arbitrary<Value>,
    table: fc.uniqueArray(fc.tuple(name, tie("value")), { maxLength: 4, selector: ([key]) => key }),
  }),
);
/** Random documents, with the place of every key and value in them. */
export const randomTomls: fc.Arbitrary<Writer> = fc
  .record({
    entries: documents,
    choices: fc.array(fc.nat(59), { minLength: 1, maxLength: 40 }),
    lineEnd: fc.constantFrom("\n", "\r\n"),
    mark: fc.constantFrom("", "\uFEFF"),
  })
  .map(({ entries, choices, lineEnd, mark }) => {
    const out = new Writer(choices, lineEnd);
    out.put(mark);
    writeTable(out, [], entries, null);
    return out;
  });
