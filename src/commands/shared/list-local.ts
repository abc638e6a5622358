/**
 * `walrust list --local`: the folders of each database of this user on this machine, and the socket of its
 * watch.
 */
import { type Place, stateHomeOf } from "../../local/places.ts";
import { readState } from "../../local/state.ts";
import { oneLine } from "../../observability/terminal-text.ts";
import { socketPathOrNull } from "../../replication/control/announcements.ts";
import { localPaths, localPlaces, runtimeFolders } from "./local-places.ts";
import type { Invocation } from "./verb.ts";

/** One database on this machine, as `--json` prints it. */
export interface LocalDatabase {
  readonly name: string | null;
  readonly path: string;
  readonly destination: string | null;
  readonly txid: number | null;
  readonly state_folder: string;
  readonly spool_folder: string;
  readonly kept: Place["kind"];
  /** The reason why its files do not lie beside it, or null. */
  readonly reason: string | null;
  /** The socket of the watch that replicates it, or null. */
  readonly socket: string | null;
}

/** The local files of this user, as `--json` prints them. */
export interface LocalFiles {
  readonly state_home: string;
  readonly socket_folders: readonly string[];
  readonly databases: readonly LocalDatabase[];
}

/** Finds the databases of this user. @param name only the database of this name, or null for all */
export async function findLocal(invocation: Invocation, name: string | null): Promise<LocalFiles> {
  const places = localPlaces(invocation);
  const folders = runtimeFolders(invocation);
  const stateHome = stateHomeOf(places.choice);
  const paths = await localPaths(invocation, places);
  const databases = [...paths].map(([path, configured]): LocalDatabase => {
    const reading = readState(places.of(path).paths);
    const state = reading.kind === "state" ? reading.state : null;
    const called = state?.name ?? configured;
    const { paths: files, kind, reason } = places.of(path, called ?? undefined);
    return {
      name: called,
      path,
      destination: state?.destination ?? null,
      txid: state?.txid ?? null,
      state_folder: files.folder,
      spool_folder: files.spoolFolder,
      kept: kind,
      reason,
      socket: socketPathOrNull(files.folder, path, folders),
    };
  });
  const shown = databases.filter((one) => name === null || one.name === name);
  return { state_home: stateHome, socket_folders: folders.present(), databases: shown };
}

/** The same as text. */
export function localLines({ state_home, databases }: LocalFiles): string[] {
  if (databases.length === 0)
    return ["No database of this user is known on this machine; give --config, or start a watch"];
  const lines = databases.flatMap((one) => [
    `${oneLine(one.path)}${one.name === null ? "" : ` (${oneLine(one.name)})`}`,
    `  state   ${oneLine(one.state_folder)}${one.reason === null ? "" : ` (${oneLine(one.reason)})`}`,
    ...(one.spool_folder.startsWith(`${one.state_folder}/`)
      ? []
      : [`  spool   ${oneLine(one.spool_folder)}`]),
    `  socket  ${one.socket === null ? "none: no watch of this user replicates it" : oneLine(one.socket)}`,
  ]);
  return [...lines, `State home: ${oneLine(state_home)}`];
}
