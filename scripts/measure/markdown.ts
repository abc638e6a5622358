/**
 * Tables and counts in Markdown. PURE.
 */

/** A table whose rows are made by `row`; all cells are aligned to the right. */
export function table(headings: readonly string[], rows: readonly string[]): string {
  return [row(...headings), row(...headings.map(() => "---:")), ...rows].join("\n");
}

/** One row of a table. */
export function row(...cells: string[]): string {
  return `| ${cells.join(" | ")} |`;
}

/** Names with their counts on one line. */
export function formatCounts(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([name, count]) => `${name} ${count}`)
    .join(", ");
}
