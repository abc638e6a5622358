/**
 * Finds another watch on this machine that replicates another file under the same name to the same
 * destination. Two such writers stop each other: each one's next upload meets the other's object.
 *
 * Only a watch of this user that answers is found, and only while it has its database attached. A watch that
 * has ended, or whose file is gone, gives its prefix to the next one.
 */
import { existsSync } from "node:fs";
import type { AttachTarget } from "../../discovery/attach-target.ts";
import type { Env } from "../../env.ts";
import { WalrustError } from "../../errors.ts";
import type { RuntimeFolders } from "../../local/folders/runtime-folder.ts";
import { databasePathOrNull } from "../control/announcements.ts";
import { askWatchesOfName, type WatchAnswer } from "../control/control-client.ts";
import type { WatchStatus } from "./watch-report.ts";

/** A watch answers a question about its state at once. */
const ANSWER_LIMIT_MS = 5_000;

/** A database that needs its name for itself. */
type Named = Pick<AttachTarget, "path" | "name">;

/** Where other watches are searched. */
export interface NamesakeSearch {
  /** `ObjectStore.location` */
  readonly location: string;
  readonly env: Pick<Env, "sleep">;
  readonly folders: RuntimeFolders;
}

/**
 * The error about another watch that has the name of a database, or null. Costs a few system calls while no
 * watch has announced the name.
 */
export async function namesakeOrNull(
  target: Named,
  { location, env, folders }: NamesakeSearch,
  signal: AbortSignal,
): Promise<WalrustError | null> {
  const { name, path } = target;
  const asker = { env, signal, answerLimitMs: ANSWER_LIMIT_MS };
  const answers = await askWatchesOfName(location, name, { verb: "status" }, asker, folders);
  const silent = answers.find(({ error, isOlder }) => error !== null && !isOlder);
  // A watch of the same file holds its host lock, which gives the better error.
  const isOther = silent !== undefined && databasePathOrNull(location, name, folders) !== path;
  if (silent !== undefined && isOther) return silent.error;
  return namesakeAmongOrNull(target, location, answers);
}

/** The error about another watch, among the answers to `status`, that has the name of a database; or null. */
export function namesakeAmongOrNull(
  { name, path }: Named,
  location: string,
  answers: readonly WatchAnswer[],
): WalrustError | null {
  for (const { pid, result } of answers) {
    const status = result as WatchStatus | null;
    if (status?.location !== location) continue;
    const other = status.databases.find(({ database }) => database === name);
    if (other === undefined || other.path === path) continue;
    // Without a writer id, that watch has not attached its database, and writes nothing.
    if (other.writer === null || !existsSync(other.path)) continue;
    const holder = `the watch with pid ${pid} replicates ${other.path} there`;
    const message = `Cannot replicate ${path} as ${name}: ${holder}`;
    return new WalrustError("locked", message, {
      hint:
        "A name has one writer: give this database another name or prefix in walrust.toml, or stop that " +
        "watch first, to continue its history with this file",
      context: { path, pid },
    });
  }
  return null;
}
