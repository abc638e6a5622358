/** `SHA256SUMS`, in the format of sha256sum: a line with digest, two spaces and name for each file. */
import { join } from "node:path";

/** Name of the file. */
export const SUMS = "SHA256SUMS";

/** The text of the file for these files of a folder, sorted by name. @throws Error when one cannot be read */
export async function formatSums(folder: string, names: readonly string[]): Promise<string> {
  const lines: string[] = [];
  for (const name of names.toSorted()) {
    const bytes = await Bun.file(join(folder, name)).bytes();
    lines.push(`${new Bun.CryptoHasher("sha256").update(bytes).digest("hex")}  ${name}\n`);
  }
  return lines.join("");
}

/** The names in such a text; lines of another form and names with a folder do not count. */
export function namesInSums(text: string): string[] {
  return [...text.matchAll(/^[0-9a-f]{64} {2}([^/\n]+)$/gm)].map((match) => match[1] ?? "");
}
