/**
 * An application with isolated commits, which also notices the arrival of each commit in the bucket. A commit
 * writes 16 random bytes; the first level-0 object with the middle eight of them holds the commit. LZ4 may
 * take the outer ones for a repetition, with the bytes beside them. Objects are files that appear whole in
 * the gateway's folder, and inotify reports each one.
 *
 * The argument is a JSON file with ProbeOptions. The probe prints a JSON line with the lags in ms.
 */
import { existsSync, readdirSync, readFileSync, watch } from "node:fs";
import { join } from "node:path";
import { openAsApplication, seededRandom } from "../../measure/databases.ts";
import { type ProbeOptions, WARM_UP_COUNT } from "../cases/lag.ts";

const ARRIVAL_LIMIT_MS = 15_000;
const POLL_MS = 20;
/** inotify may lose an event on a busy machine; the lag is then longer by at most this. */
const FALLBACK_MS = 100;

const options = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as ProbeOptions;
const { databasePath, levelFolder, commitCount, minGapMs, maxGapMs, seed } = options;
const random = seededRandom(seed);
const database = openAsApplication(databasePath);
const update = database.prepare("UPDATE item SET version = version + 1, data = ? WHERE id = 1");
const checked = new Set<string>();
/** Runs at each change of the folder; objects from between two commits stay unread until the next commit. */
let onChange: () => void = () => {};

function commit(): { marker: Buffer; atMs: number } {
  const data = Buffer.from(crypto.getRandomValues(new Uint8Array(16)));
  update.run(data);
  return { marker: data.subarray(4, 12), atMs: performance.now() };
}

/** Whether one of the new objects since the last call holds the marker. */
function hasArrived(marker: Buffer): boolean {
  const news = readdirSync(levelFolder).filter((name) => name.endsWith(".ltx") && !checked.has(name));
  for (const name of news) {
    checked.add(name);
    if (readFileSync(join(levelFolder, name)).includes(marker)) return true;
  }
  return false;
}

async function warmUp(): Promise<void> {
  for (let count = 0; count < WARM_UP_COUNT; count++) {
    const { marker, atMs } = commit();
    while (!(existsSync(levelFolder) && hasArrived(marker))) {
      if (performance.now() - atMs > ARRIVAL_LIMIT_MS) throw new Error("a commit never arrived");
      await Bun.sleep(POLL_MS);
    }
    await Bun.sleep(minGapMs);
  }
}

/** Commits once and waits for the object. @returns the time of the commit and the lag, in ms */
async function measureOnce(): Promise<{ atMs: number; lagMs: number }> {
  const { marker, atMs } = commit();
  const { promise, resolve } = Promise.withResolvers<number>();
  onChange = () => {
    const seenMs = performance.now();
    if (hasArrived(marker)) resolve(seenMs);
  };
  const fallback = setInterval(onChange, FALLBACK_MS);
  const limit = setTimeout(() => resolve(Number.POSITIVE_INFINITY), ARRIVAL_LIMIT_MS);
  const lagMs = Math.max(0, (await promise) - atMs);
  clearInterval(fallback);
  clearTimeout(limit);
  onChange = () => {};
  if (lagMs === Number.POSITIVE_INFINITY) throw new Error("a commit never arrived");
  return { atMs, lagMs };
}

await warmUp();
const watcher = watch(levelFolder, () => onChange());
const lagsMs: number[] = [];
for (let count = 0; count < commitCount; count++) {
  const { atMs, lagMs } = await measureOnce();
  lagsMs.push(lagMs);
  const nextMs = atMs + minGapMs + random() * (maxGapMs - minGapMs);
  await Bun.sleep(Math.max(0, nextMs - performance.now()));
}
watcher.close();
database.close(true);
console.log(JSON.stringify(lagsMs));
