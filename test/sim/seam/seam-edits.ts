/**
 * The changes that make a source file of walrust run in the simulator: imports of the system lead to this
 * folder, locks pass the gate, and module-level state can be emptied as a new process would find it. Each
 * change names the exact text it replaces and fails loudly when the text is not there exactly once, so that
 * the simulator never runs another program than it believes.
 */

/** Replaces one text of one source file. */
export interface Edit {
  /** Path of the source file below the project. */
  readonly file: string;
  readonly from: string;
  readonly to: string;
}

/** Imports of the system, and the modules of this folder in their place. */
const REPLACED_MODULES: Readonly<Record<string, string>> = {
  "node:fs": "sim-fs.ts",
  "node:fs/promises": "sim-fs-promises.ts",
  "bun:sqlite": "sim-sqlite.ts",
};

/** State of modules that a new process finds empty. The test of this file finds new ones. */
const RESETS: readonly (readonly [file: string, statement: string])[] = [
  ["src/database/files/descriptors.ts", "usageByDatabase.clear()"],
  ["src/database/files/file-aliases.ts", "reading = null"],
  ["src/database/files/file-users.ts", "lastFound = null"],
  ["src/database/wal/wal-gate.ts", "scans.clear()"],
  ["src/local/spool-bodies.ts", "bodies.clear()"],
  ["src/local/spool-bodies.ts", "heldBytes = 0"],
  ["src/local/spool-log.ts", "listings.clear()"],
  ["src/local/spool-log.ts", "read.clear()"],
  ["src/local/state-origin.ts", "kernel = null"],
  ["src/replication/upload/publish.ts", "hashing = new Semaphore(HASHED_AT_ONCE)"],
];

/** Module-level state that a crash need not empty: it holds facts that stay true, or buffers. */
export const TIMELESS: readonly string[] = [
  "src/database/files/descriptors.ts lastDevice",
  "src/database/files/file-version.ts recent",
  "src/database/files/ofd-lock.ts libc",
  "src/database/files/scratch-buffers.ts walScratch",
  "src/database/files/scratch-buffers.ts imageScratch",
  "src/database/files/scratch-buffers.ts sumScratch",
  "src/database/files/sole-descriptor.ts fcntl",
  "src/database/wal/wal-events.ts isOpen",
  "src/env.ts usleep",
  "src/format/crc64.ts registerHigh",
  "src/format/crc64.ts registerLow",
  "src/format/ltx-encoder.ts spareBuffers",
  "src/format/wal.ts running1",
  "src/format/wal.ts running2",
  "src/format/zero-pages.ts MADE",
  "src/local/own-file.ts gid",
  "src/local/own-file.ts uid",
  "src/local/spool.ts spareBuffers",
  "src/local/state.ts lastWrites",
  "src/local/state.ts unconfirmed",
  "src/replication/upload/spool-merge.ts pageSizes",
];

const EDITS: readonly Edit[] = [
  {
    file: "src/database/files/ofd-lock.ts",
    from: "  const library = libcOrNull();\n  if (library === null) {",
    to:
      '  operate("fcntl", String(start), false, () => {});\n' +
      "  const library = libcOrNull();\n  if (library === null) {",
  },
  {
    file: "src/replication/upload/publish.ts",
    from: "const hashing = new Semaphore",
    to: "let hashing = new Semaphore",
  },
];

/** The source files whose state is emptied, with the names of that state. */
export function resetStatements(): readonly (readonly [file: string, statement: string])[] {
  return RESETS;
}

/**
 * The text of a source file for the simulator.
 * @param file path below the project
 * @param seamFolder absolute path of this folder
 * @param more further edits, such as a mutant
 */
export function editedSource(
  file: string,
  text: string,
  seamFolder: string,
  more: readonly Edit[] = [],
): string {
  let edited = text;
  for (const edit of [...EDITS, ...more]) {
    if (edit.file === file) edited = applyEdit(edited, edit);
  }
  for (const [name, module] of Object.entries(REPLACED_MODULES)) {
    edited = edited.replaceAll(`from "${name}"`, `from "${seamFolder}/${module}"`);
  }
  const resets = RESETS.filter(([of]) => of === file);
  const isGated = edited.includes("operate(") || resets.length > 0;
  if (!isGated) return edited;
  const hooks = resets.map(([, statement]) => `onNewProcess(() => { ${statement}; });\n`).join("");
  return `${edited}\nimport { onNewProcess, operate } from "${seamFolder}/gate.ts";\n${hooks}`;
}

/** Applies one edit. @throws Error when the text is not there exactly once */
export function applyEdit(text: string, { file, from, to }: Edit): string {
  const count = text.split(from).length - 1;
  if (count !== 1)
    throw new Error(`${file} contains the text to replace ${count} times, expected once:\n${from}`);
  return text.replace(from, () => to);
}
