/**
 * The storage of a soak or a drill: versitygw, or the tests' in-process S3 server in a process of its own
 * where versitygw is not installed. The line with the faults stands before the storage; restores go past the
 * line.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bunCommand } from "../../toolchain.ts";
import { BUCKET, CREDENTIALS, GATEWAY_BINARY, startGateway } from "../gateway.ts";
import { type Child, readLog, type Workspace, waitUntil } from "../workspace.ts";
import type { LineCounts } from "./fault-line.ts";
import type { Episode } from "./weather.ts";

/** Options of the line's process (fault-line-main.ts). */
export interface LineOptions {
  readonly storePort: number;
  readonly seed: number;
  readonly episodes: readonly Episode[];
  /** File with the LineCounts as JSON. */
  readonly countsPath: string;
}

/** Options of the substitute for versitygw (store-main.ts). */
export interface StoreOptions {
  readonly bucket: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** A running storage with its line. */
export interface Storage {
  readonly name: string;
  /** URL behind the faults. */
  readonly farUrl: string;
  /** URL of the storage itself. */
  readonly nearUrl: string;
  readonly children: readonly Child[];
  /** Monotonic time at which the line began to count the time of its episodes. */
  readonly lineStartMs: number;
  readCounts(): LineCounts;
}

const START_LIMIT_MS = 30_000;
const NO_COUNTS: LineCounts = { requests: {}, faults: {} };

/** Starts the storage and its line. @throws Error when one of them ends at once */
export async function startStorage(
  workspace: Workspace,
  seed: number,
  episodes: readonly Episode[],
): Promise<Storage> {
  const store = await startStore(workspace);
  const countsPath = join(workspace.folder, "line-counts.json");
  const options: LineOptions = { storePort: store.port, seed, episodes, countsPath };
  const line = await startListener(workspace, "fault-line", options);
  let counts = NO_COUNTS;
  return {
    name: store.name,
    farUrl: `http://127.0.0.1:${line.port}`,
    nearUrl: `http://127.0.0.1:${store.port}`,
    children: [store.child, line.child],
    lineStartMs: performance.now(),
    readCounts: () => {
      counts = readCountsOrNull(countsPath) ?? counts;
      return counts;
    },
  };
}

/** A running storage without faults. */
export interface Store {
  readonly name: string;
  readonly child: Child;
  readonly port: number;
  /**
   * Kills the storage, waits for `down`, and starts it again with its objects; null where that would lose
   * them.
   */
  readonly restart: ((down: () => Promise<void>) => Promise<void>) | null;
}

/** Starts the storage. @throws Error when it ends at once */
export async function startStore(workspace: Workspace): Promise<Store> {
  if (!existsSync(GATEWAY_BINARY)) {
    const options: StoreOptions = {
      ...{ bucket: BUCKET, accessKeyId: CREDENTIALS.accessKeyId },
      secretAccessKey: CREDENTIALS.secretAccessKey,
    };
    const name = "the tests' S3 server (versitygw is not installed)";
    return { name, ...(await startListener(workspace, "store", options)), restart: null };
  }
  let { child, port } = await startGateway(workspace, workspace.folder, null);
  const restart = async (down: () => Promise<void>): Promise<void> => {
    await workspace.kill(child);
    await down();
    ({ child } = await startGateway(workspace, workspace.folder, null, port));
  };
  return { name: "versitygw", child, port, restart };
}

/** Starts one of this folder's programs that prints its port. */
async function startListener(
  workspace: Workspace,
  name: string,
  options: object,
): Promise<{ child: Child; port: number }> {
  const optionsPath = join(workspace.folder, `${name}.json`);
  writeFileSync(optionsPath, JSON.stringify(options));
  const words = bunCommand(join(import.meta.dir, `${name}-main.ts`), optionsPath);
  const child = workspace.start(name, { words, env: {} });
  await waitUntil([child], name, START_LIMIT_MS, () => readLog(child).includes("\n"));
  return { child, port: Number(readLog(child).split("\n")[0]) };
}

/** Null while the file is missing or half written. */
function readCountsOrNull(path: string): LineCounts | null {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as LineCounts;
  } catch {
    return null;
  }
}
