/**
 * Checks one database: its mode, file system and size, the SQLite that writes it, the processes that have it
 * open, its local state, and the room for captured files. Reads, and changes nothing.
 */
import { accessSync, constants, existsSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { readDatabaseHeader } from "../../database/files/descriptors.ts";
import type { FileUser } from "../../database/files/file-users.ts";
import { fileSystemOf } from "../../database/files/mount-type.ts";
import { requirePinnable } from "../../database/pin/pinnable.ts";
import type { FoundDatabase } from "../../discovery/finder.ts";
import type { Env } from "../../env.ts";
import { asWalrustError, systemCode, WalrustError } from "../../errors.ts";
import type { DatabaseHeader } from "../../format/sqlite-header.ts";
import { diskRoomOf, RESERVE_BYTES } from "../../local/folders/disk-room.ts";
import { readState } from "../../local/state.ts";
import { stateFolderRefusalOrNull } from "../../local/state-folder.ts";
import { formatBytes } from "../shared/output.ts";
import { Checks } from "./check.ts";
import { checkHolder, checkPin, checkWatched, type WatchedDatabase } from "./replication-checks.ts";

/** The versions of SQLite with the WAL-reset bug, as in the header of a database file. */
const WAL_RESET_BUG = { first: 3_007_000, last: 3_051_002 } as const;
/** A WAL that is longer than the threshold for its truncation by this factor does not shrink. */
const LONG_WAL_FACTOR = 2;

/** Facts about one database that are not in its files. */
export interface DatabaseFacts {
  readonly users: readonly FileUser[];
  /** The destination of the watch; null if none is given. */
  readonly destination: string | null;
  readonly walTruncateThresholdPages: number;
  /** The report of the watch that replicates the database, or null. */
  readonly watched: WatchedDatabase | null;
}

/** Checks one database. */
export async function checkDatabase(found: FoundDatabase, facts: DatabaseFacts, env: Env): Promise<Checks> {
  const { watched } = facts;
  const checks = new Checks("database", found.path);
  const { header, isUsable } = checkMode(found, watched, checks);
  if (watched !== null) checkWatched(watched, checks);
  else if (isUsable) {
    checkHolder(found, facts.users, checks);
    await checkPin(found, env, checks);
  }
  checkFileSystem(found.path, checks);
  if (header !== null) {
    checkLibrary(header, checks);
    checkSize(found.path, header, facts, checks);
  }
  checkUsers(facts.users, checks);
  checkState(found, facts, checks);
  checkSpace(found, checks);
  return checks;
}

/** The header, or null when the file cannot be read, and whether a watch may open the file. */
interface Mode {
  readonly header: DatabaseHeader | null;
  readonly isUsable: boolean;
}

function checkMode(
  { path, isDiscovered }: FoundDatabase,
  watched: WatchedDatabase | null,
  checks: Checks,
): Mode {
  let header: DatabaseHeader | null = null;
  try {
    header = readDatabaseHeader(path);
    requirePinnable(path);
    checks.ok("mode", "WAL mode, no journal to roll back");
    return { header, isUsable: true };
  } catch (error) {
    const failure = asWalrustError(error);
    const isReported = watched !== null && watched.health !== "healthy";
    if (isReported) return { header, isUsable: false };
    // A glob may find files that are no concern of the watch.
    if (isDiscovered && failure.code === "not-wal")
      checks.warning("mode", "it is not in WAL mode, and not replicated", failure.hint ?? "");
    else checks.failure("mode", failure);
    return { header, isUsable: false };
  }
}

function checkFileSystem(path: string, checks: Checks): void {
  try {
    const { name, lossReason } = fileSystemOf(path);
    if (lossReason === null) return checks.ok("file-system", name);
    const hint = "Put the database on a disk or a volume that lasts, if it should";
    checks.warning("file-system", `${name}: ${lossReason}`, hint);
  } catch (error) {
    checks.failure("file-system", unreadable(path, error));
  }
}

/** The last writer shows in the header of the file, with the last checkpoint. */
function checkLibrary({ libraryVersion }: DatabaseHeader, checks: Checks): void {
  const text = versionText(libraryVersion);
  if (libraryVersion < WAL_RESET_BUG.first || libraryVersion > WAL_RESET_BUG.last) {
    return checks.ok("sqlite-version", `last written by SQLite ${text}`);
  }
  const message = `last written by SQLite ${text}, which has the WAL-reset bug`;
  const hint =
    "Use SQLite 3.51.3 or later in the application (3.7.0 to 3.51.2 have the bug, unless your distribution " +
    "has mended it)";
  checks.warning("sqlite-version", `${message}: a rare race of two connections damages the database`, hint);
}

/** A version as in the header of a file: 3051003 is 3.51.3. */
export function versionText(version: number): string {
  return `${Math.floor(version / 1_000_000)}.${Math.floor(version / 1000) % 1000}.${version % 1000}`;
}

function checkSize(
  path: string,
  { pageSizeBytes }: DatabaseHeader,
  { walTruncateThresholdPages }: DatabaseFacts,
  checks: Checks,
): void {
  const [bytes, walBytes] = [sizeOf(path), sizeOf(`${path}-wal`)];
  const text = `${formatBytes(bytes)} in pages of ${pageSizeBytes} bytes, WAL ${formatBytes(walBytes)}`;
  if (walBytes <= LONG_WAL_FACTOR * walTruncateThresholdPages * pageSizeBytes) return checks.ok("size", text);
  const hint = "Look for a reader whose transaction never ends: it keeps every checkpoint from finishing";
  checks.warning("size", text, hint);
}

function checkUsers(users: readonly FileUser[], checks: Checks): void {
  const shown = users.slice(0, 5).map(({ pid, command }) => `${command} (pid ${pid})`);
  const more = users.length - shown.length;
  const text = users.length === 0 ? "by no process that this user can see" : `by ${shown.join(", ")}`;
  checks.ok("users", `open ${text}${more > 0 ? ` and ${more} more` : ""}`);
}

function checkState({ place, name }: FoundDatabase, { destination }: DatabaseFacts, checks: Checks): void {
  const { folder } = place.paths;
  const where = place.kind === "beside" ? "beside the database" : `in ${folder}`;
  if (place.ignored !== null)
    checks.warning(
      "state-folder",
      place.ignored,
      "Remove the ignored folder, or take write access from others",
    );
  const refusal = stateFolderRefusalOrNull(place.paths) ?? unwritableOrNull(folder);
  if (refusal !== null) checks.failure("state-folder", refusal);
  const reading = readState(place.paths);
  if (reading.kind === "refused") return checks.failure("state", reading.error);
  if (reading.kind === "lost") {
    const hint = "Nothing to do: the next watch continues after the newest TXID of the bucket";
    return checks.warning("state", `the local state in ${folder} is lost: ${reading.reason}`, hint);
  }
  if (reading.kind === "none") {
    if (refusal === null) checks.ok("state", `no local state yet; it will lie ${where}`);
    return;
  }
  if (reading.isCopy === true) {
    const message = `the local state was copied here from another folder or machine`;
    checks.warning("state", message, "Let only one of the two write to this name in the bucket");
  }
  const { txid, destination: last, name: lastName } = reading.state;
  const isSame = destination === null || (last === destination && lastName === name);
  if (isSame) return checks.ok("state", `local state of TXID ${txid} ${where}`);
  const hint = "Give that destination and name, or expect a new history with a full snapshot in the new one";
  checks.warning("state", `the local state is that of ${lastName} in ${last}`, hint);
}

/** The error for a folder that this user cannot create or write, or null. */
function unwritableOrNull(folder: string): WalrustError | null {
  try {
    accessSync(presentParent(folder), constants.W_OK | constants.X_OK);
    return null;
  } catch (error) {
    const code = systemCode(error) ?? "unknown error";
    return new WalrustError("database", `Cannot write to ${folder} for the local state: ${code}`, {
      hint: "Run as a user who may write there, or give another folder with --state-dir",
    });
  }
}

/** The folder itself, or the nearest one above it that exists. */
function presentParent(folder: string): string {
  let present = folder;
  while (!existsSync(present) && present !== dirname(present)) present = dirname(present);
  return present;
}

/** Captured files and snapshots need room for a copy of the database, in the worst case. */
function checkSpace({ path, place }: FoundDatabase, checks: Checks): void {
  const folder = presentParent(place.paths.spoolFolder);
  try {
    const { freeBytes } = diskRoomOf(folder);
    const neededBytes = Math.max(RESERVE_BYTES, sizeOf(path));
    const text = `${formatBytes(freeBytes)} free for captured files`;
    if (freeBytes >= neededBytes) return checks.ok("space", text);
    const message = `${text}, a snapshot may need ${formatBytes(neededBytes)}`;
    checks.warning("space", message, "Free some space, or put captured files elsewhere with --cache-dir");
  } catch (error) {
    checks.failure("space", unreadable(folder, error));
  }
}

function unreadable(path: string, error: unknown): WalrustError {
  return new WalrustError("database", `Cannot examine ${path}: ${systemCode(error) ?? "unknown error"}`);
}

function sizeOf(path: string): number {
  try {
    return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  } catch {
    // The check of the file system reports a folder that cannot be entered.
    return 0;
  }
}
