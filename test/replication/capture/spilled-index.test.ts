/** The page index of a large file in a temporary file: it comes back in order, and no file is left. */
import { expect, test } from "bun:test";
import { readdirSync, readlinkSync, rmSync } from "node:fs";
import { SpilledIndex } from "../../../src/replication/capture/spilled-index.ts";
import { failureOf } from "../../support/failure-of.ts";
import { tempFolder } from "../../support/temp.ts";

/** Number of open descriptors of files below a folder. */
function openBelow(folder: string): number {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(folder);
    } catch {
      return false;
    }
  }).length;
}

test("SpilledIndex gives its bytes in order, and has no name on the disk", () => {
  const folder = tempFolder("index");
  const index = new SpilledIndex(folder);
  const bytes = crypto.getRandomValues(new Uint8Array(65_536));
  expect([...index.chunks()]).toEqual([]);
  for (let count = 0; count < 9; count++) index.append(bytes);
  const read = Buffer.concat(Array.from(index.chunks(), (chunk) => chunk.slice()));
  expect(read.equals(Buffer.concat(Array.from({ length: 9 }, () => bytes)))).toBe(true);
  expect([readdirSync(folder), openBelow(folder)]).toEqual([[], 1]);
  index.close();
  index.close();
  expect(openBelow(folder)).toBe(0);
});

test("SpilledIndex that cannot be written is a failure that a retry may end", async () => {
  const folder = tempFolder("index");
  rmSync(folder, { recursive: true });
  const index = new SpilledIndex(folder);
  const append = async (): Promise<void> => index.append(new Uint8Array(1));
  expect(await failureOf(append())).toMatchObject({ code: "database", retryable: true });
});
