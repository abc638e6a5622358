/**
 * Errors to plant into a copy of the sources, each of which makes a restore from a corrupted bucket lie. If
 * the seeds miss one, they prove nothing about the check that the mutant switches off.
 */
import { cp, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bunCommand, capture, ROOT } from "../toolchain.ts";

/** A replacement of a text that a file has once. */
interface Edit {
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

/** One error. */
export interface Mutant {
  readonly name: string;
  readonly edits: readonly Edit[];
}

const CHECK = "src/recovery/object/check-object.ts";
const BUILDER = "src/recovery/restore/database-builder.ts";
const POINT = "src/recovery/plan/restore-point.ts";
const PREPARE = "src/recovery/restore/prepare-restore.ts";

/** All mutants. */
export const MUTANTS: readonly Mutant[] = [
  mutant("the SHA-256 is not compared", {
    file: CHECK,
    find: "metadata.sha256 === null || metadata.sha256 === hex(sha256)",
    replace: "hex(sha256) !== ''",
  }),
  mutant("the links of the chain are not checked", {
    file: CHECK,
    find: "this.#findings.push(...chainFindings(object, metadata, sha256, this.#options.after));",
    replace: "",
  }),
  mutant("the TXIDs of the header are not compared with the key", {
    file: CHECK,
    find: "header.minTxid !== object.minTxid || header.maxTxid !== object.maxTxid",
    replace: "header.minTxid < 0",
  }),
  mutant("the time of the header is not compared with the metadata", {
    file: CHECK,
    find: "timeMs !== null && timeMs !== header.timestampMs",
    replace: "timeMs === Number.NaN",
  }),
  mutant(
    "neither the file checksum nor the SHA-256 is compared",
    {
      file: "src/format/ltx-decoder.ts",
      find: "trailer.fileChecksum !== expected",
      replace: "trailer.fileChecksum === -1n",
    },
    {
      file: CHECK,
      find: "metadata.sha256 === null || metadata.sha256 === hex(sha256)",
      replace: "hex(sha256) !== ''",
    },
  ),
  mutant(
    "neither the database checksum nor the chain is checked",
    { file: BUILDER, find: "trailer.postApplyChecksum !== this.checksum", replace: "this.txid < 0" },
    {
      file: BUILDER,
      find: "hasPre && header.preApplyChecksum !== this.checksum",
      replace: "hasPre && this.txid < 0",
    },
    {
      file: CHECK,
      find: "this.#findings.push(...chainFindings(object, metadata, sha256, this.#options.after));",
      replace: "",
    },
  ),
  mutant(
    "no neighbour of the state is asked",
    {
      file: PREPARE,
      find: "if (needed.newest && newest !== null) await assertNewestCorroborated(newest, around);",
      replace: "",
    },
    {
      file: PREPARE,
      find: "await assertFirstCorroborated(first, around);",
      replace: ";",
    },
  ),
  mutant("the point after a requested time is not checked", {
    file: PREPARE,
    find: "if (next !== null) await assertNextIsLater(next, newest, point.timeMs, around);",
    replace: "",
  }),
  mutant("a hole after the point of a time is ignored", {
    file: POINT,
    find: "assertNothingBetween(txid, timeMs, objects);",
    replace: "",
  }),
  mutant("a manifest that names a newer TXID is ignored", {
    file: POINT,
    find: "if (txid <= newest) return;",
    replace: "if (txid > 0) return;",
  }),
  mutant("damage changes the TXID that is restored", {
    file: "src/recovery/plan/excluded-objects.ts",
    find: "planRestore(this.without(listing), txid)",
    replace: "planRestore(this.without(listing), null)",
  }),
];

function mutant(name: string, ...edits: readonly Edit[]): Mutant {
  return { name, edits };
}

/**
 * Runs seeds in a copy of the project with one mutant.
 * @returns the output of the first escape, or null if all seeds passed
 */
export async function firstEscapeOrNull({ name, edits }: Mutant, seedCount: number): Promise<string | null> {
  const copy = await mkdtemp(join(tmpdir(), "walrust-mutant-"));
  try {
    for (const folder of ["src", "scripts", "test"]) {
      await cp(join(ROOT, folder), join(copy, folder), { recursive: true });
    }
    for (const file of ["package.json", "tsconfig.json"]) await cp(join(ROOT, file), join(copy, file));
    await symlink(join(ROOT, "node_modules"), join(copy, "node_modules"));
    for (const { file, find, replace } of edits) {
      const path = join(copy, file);
      const parts = (await Bun.file(path).text()).split(find);
      if (parts.length !== 2) throw new Error(`${name}: ${file} has the text ${parts.length - 1} times`);
      await Bun.write(path, parts.join(replace));
    }
    const words = ["scripts/corrupt.ts", "--seeds", String(seedCount), "--first"];
    const { exitCode, stdout, stderr } = await capture(bunCommand(...words), { cwd: copy });
    if (exitCode === 0) return null;
    if (stderr !== "") throw new Error(`${name}: the run failed\n${stderr}`);
    return stdout;
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
}
