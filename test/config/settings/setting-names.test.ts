/** The name of a setting: its field in the Config is its key in camelCase, with the unit. */
import { expect, test } from "bun:test";
import type { OptionKind } from "../../../src/config/settings/option-spec.ts";
import { keyName, SECTIONS } from "../../../src/config/settings/options.ts";

/** The unit at the end of a field's name, unless its key has one already. */
const UNITS: Readonly<Partial<Record<OptionKind, string>>> = {
  seconds: "Ms",
  duration: "Ms",
  durations: "Ms",
  milliseconds: "Ms",
  bytes: "Bytes",
};

const ROWS = SECTIONS.flatMap(({ name, options }) =>
  Object.entries(options).map(([field, spec]) => [spec.key ?? `${name}: ${field}`, field, spec] as const),
);

test.each(ROWS)("%s is the field %s", (_, field, spec) => {
  const camel = keyName(spec).replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
  const unit = UNITS[spec.kind] ?? "";
  expect(field).toBe(camel.endsWith(unit) ? camel : `${camel}${unit}`);
});
