/** Formats values by the unit at the end of their names. PURE. */

/** A value with its unit; `undefined` was not measured. */
export function formatValue(key: string, value: number | undefined): string {
  if (value === undefined) return "not measured";
  const shown = roundAsShown(key, value);
  if (key.endsWith("Bytes")) return `${(shown / 1e6).toFixed(1)} MB`;
  if (key.endsWith("Share")) return `${(shown * 100).toFixed(1)} %`;
  if (key.endsWith("Factor")) return `×${shown.toFixed(2)}`;
  if (key.endsWith("PerCommit")) return shown.toFixed(2);
  if (/Per(Second|Increment)$/.test(key)) return shown.toFixed(1);
  if (!key.endsWith("Ms")) return String(shown);
  if (shown >= 1000) return `${(shown / 1000).toFixed(2)} s`;
  return `${shown.toFixed(shown < 10 ? 2 : 0)} ms`;
}

/** The value that the table shows, so that a goal is judged by what a reader sees. */
export function roundAsShown(key: string, value: number): number {
  return Math.round(value / stepOf(key, value)) * stepOf(key, value);
}

function stepOf(key: string, value: number): number {
  if (key.endsWith("Bytes")) return 1e5;
  if (key.endsWith("Share")) return 0.001;
  if (key.endsWith("Factor") || key.endsWith("PerCommit")) return 0.01;
  if (key.endsWith("PerSecond") || key.endsWith("PerIncrement")) return 0.1;
  if (!key.endsWith("Ms") || value >= 1000) return key.endsWith("Ms") ? 10 : 1;
  return value < 10 ? 0.01 : 1;
}
