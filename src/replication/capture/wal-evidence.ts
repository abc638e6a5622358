/**
 * Gathers the evidence about a database's files before it is pinned: the local state, the files of the last
 * pin, and a comparison with the page sums where nothing else shows whether file and -wal belong together.
 */
import { closeDescriptor, descriptorIdentity, openDescriptor } from "../../database/files/descriptors.ts";
import { isSameIdentity } from "../../database/files/file-version.ts";
import { compareContent, type RememberedPages } from "../../database/wal/compare-content.ts";
import { NO_EVIDENCE, readWalFacts, type WalEvidence } from "../../database/wal/wal-gate.ts";
import type { KnownFiles, WalFacts } from "../../database/wal/wal-ownership.ts";
import type { WalPosition } from "../../database/wal/wal-tail.ts";
import type { Env } from "../../env.ts";
import { WalrustError } from "../../errors.ts";
import { checksumOfFileOrNull, PageSumReader } from "../../local/page-sums.ts";
import { type DatabaseState, readState } from "../../local/state.ts";
import type { StateFolder } from "../../local/state-folder.ts";

/**
 * Gathers the evidence about the database at `path`. The pin reports files that cannot be read.
 * @param remembered the files of the last pin, which are newer than the state
 */
export async function gatherWalEvidence(
  path: string,
  paths: StateFolder,
  remembered: KnownFiles | null,
  env: Env,
): Promise<WalEvidence> {
  const reading = readState(paths);
  const state = reading.kind === "state" ? reading.state : null;
  const known = remembered ?? knownFilesOrNull(state);
  const facts = factsOrNull(path, { known, compared: null });
  if (state === null || facts === null || !needsComparison(state, facts)) return { known, compared: null };
  const pages = rememberedPages(state, state.wal, paths.sumsPath);
  return { known, compared: await compareContent(path, pages, () => env.turn()) };
}

/** The page sums of a state that has a position in a WAL. */
export function rememberedPages(state: DatabaseState, wal: WalPosition, sumsPath: string): RememberedPages {
  const { pageSizeBytes, commit, checksum } = state;
  const { salt1, salt2 } = wal;
  const openSums = (): PageSumReader | null =>
    checksumOfFileOrNull(sumsPath, commit) === checksum ? new PageSumReader(sumsPath) : null;
  return { pageSizeBytes, commit, salt1, salt2, openSums };
}

/** The files that a state was written for, or null when the state names none. */
export function knownFilesOrNull(state: DatabaseState | null): KnownFiles | null {
  if (state?.file === undefined) return null;
  const { inode, bornNs = "0", wal = null } = state.file;
  const isNamed = state.wal !== null && state.wal.frameCount > 0;
  const salts = isNamed ? { salt1: state.wal.salt1, salt2: state.wal.salt2 } : null;
  return { database: { inode, bornNs }, wal, salts };
}

function factsOrNull(path: string, evidence: WalEvidence = NO_EVIDENCE): WalFacts | null {
  try {
    const fd = openDescriptor(path);
    try {
      return readWalFacts(path, fd, evidence);
    } finally {
      closeDescriptor(descriptorIdentity(fd), fd);
    }
  } catch (error) {
    if (error instanceof WalrustError) return null;
    throw error;
  }
}

/** Whether the WAL has the salts of the state, but the file has changed since the state was written. */
function needsComparison(
  state: DatabaseState,
  { database, wal, isDatabaseOpen, isShmOpen }: WalFacts,
): state is DatabaseState & { readonly wal: NonNullable<DatabaseState["wal"]> } {
  const claims = wal?.claims ?? null;
  if (claims === null || state.wal?.salt1 !== claims.salt1 || state.wal.salt2 !== claims.salt2) return false;
  const { file } = state;
  if (file === undefined) return true;
  const isSameFile = isSameIdentity({ inode: file.inode, bornNs: file.bornNs ?? "0" }, database);
  if (!isSameFile) return true;
  // The application has opened the database with this WAL, and may write the file just now.
  if (isDatabaseOpen && isShmOpen) return false;
  return file.modifiedNs !== database.modifiedNs;
}
