/**
 * The line to the storage in a process of its own. The argument is a JSON file with LineOptions. Prints the
 * port of the line. Writes the LineCounts to a file each second and at SIGTERM.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { FaultLine } from "./fault-line.ts";
import type { LineOptions } from "./storage.ts";

const COUNTS_MS = 1_000;

const { storePort, seed, episodes, countsPath } = JSON.parse(
  readFileSync(process.argv[2] ?? "", "utf8"),
) as LineOptions;
const line = await FaultLine.start(storePort, seed);
for (const episode of episodes) {
  setTimeout(() => line.set(episode), episode.startMs);
  setTimeout(() => line.set(null), episode.endMs);
}
setInterval(() => writeFileSync(countsPath, JSON.stringify(line.counts)), COUNTS_MS);
process.on("SIGTERM", () => {
  writeFileSync(countsPath, JSON.stringify(line.counts));
  process.exit(0);
});
console.log(line.port);
