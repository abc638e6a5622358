/**
 * The texts that accompany an executable in its packages: license, README, the notices of third parties, and,
 * printed by the executable itself, completions and the man page.
 */
import { join } from "node:path";
import { capture, ROOT } from "../toolchain.ts";
import type { Executable, PackageDocument } from "./package-kind.ts";
import { nativeTarget } from "./targets.ts";

/** Texts of the project by their path in a package. */
const FILES: Readonly<Record<string, string>> = {
  LICENSE: "LICENSE",
  "README.md": "README.md",
  "THIRD-PARTY-NOTICES.txt": "src/commands/manual/licenses.txt",
};

/** The words that make the executable print a text, by the path of the text in a package. */
const PRINTED: Readonly<Record<string, readonly string[]>> = {
  "completions/walrust.bash": ["completions", "bash"],
  "completions/_walrust": ["completions", "zsh"],
  "completions/walrust.fish": ["completions", "fish"],
  "man/walrust.1": ["man"],
};

/** Exit code for a verb that the executable does not have. */
const USAGE = 2;

/**
 * The documents of a run. Without an executable for this machine, there are no printed ones.
 * @throws Error when a text is missing or an executable does not print
 */
export async function collectDocuments(executables: readonly Executable[]): Promise<PackageDocument[]> {
  const documents: PackageDocument[] = [];
  for (const [path, source] of Object.entries(FILES)) {
    documents.push({ path, text: await Bun.file(join(ROOT, source)).text() });
  }
  const target = nativeTarget();
  const native = executables.find((executable) => executable.target === target);
  if (native === undefined) return documents;
  for (const [path, words] of Object.entries(PRINTED)) {
    const { exitCode, stdout, stderr } = await capture([native.path, ...words]);
    if (exitCode === USAGE) continue;
    if (exitCode !== 0) throw new Error(`walrust ${words.join(" ")} ended with ${exitCode}\n${stderr}`);
    documents.push({ path, text: stdout });
  }
  return documents;
}
