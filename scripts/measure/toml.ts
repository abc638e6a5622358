/**
 * Writes walrust.toml. PURE. A JSON text, number, boolean or list of these is a TOML value, too.
 */

/** The text of a file with sections, and with one `[[databases]]` entry for each database. */
export function tomlText(sections: Readonly<Record<string, object>>, databases: readonly object[]): string {
  return [
    ...Object.entries(sections).map(([name, values]) => `[${name}]\n${tomlLines(values)}`),
    ...databases.map((values) => `[[databases]]\n${tomlLines(values)}`),
  ].join("\n");
}

function tomlLines(values: object): string {
  return Object.entries(values)
    .map(([key, value]) => `${key} = ${JSON.stringify(value)}\n`)
    .join("");
}
