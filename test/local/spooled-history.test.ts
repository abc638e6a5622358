/**
 * The history of a database that is not attached: the owner of its spool, and the remains of a damaged spool.
 */
import { expect, test } from "bun:test";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readSpooledHistoryOrNull } from "../../src/local/spooled-history.ts";
import { spooledHistory } from "../support/histories/spooled-history.ts";

test("readSpooledHistoryOrNull reads only a spool of the same destination and name", () => {
  const { live } = spooledHistory(3);
  const { destination, name } = live.state!;
  const read = (owner: { destination: string; name: string }) =>
    readSpooledHistoryOrNull(live.paths, owner, false);
  expect(read({ destination, name })?.state.txid).toBe(live.state!.txid);
  expect(read({ destination, name })?.pending?.length).toBe(live.pending.length);
  expect(read({ destination: "s3://elsewhere", name })).toBeNull();
  expect(read({ destination, name: "other" })).toBeNull();
});

test("readSpooledHistoryOrNull removes leftovers only for the holder of the host lock", () => {
  const { live } = spooledHistory(3);
  const owner = { destination: live.state!.destination, name: live.state!.name };
  const leftover = join(live.paths.spoolFolder, "0000-0000000000000009-0000000000000009.ltx.x.tmp");
  writeFileSync(leftover, "torn");
  readSpooledHistoryOrNull(live.paths, owner, false);
  expect(existsSync(leftover)).toBe(true);
  readSpooledHistoryOrNull(live.paths, owner, true);
  expect(existsSync(leftover)).toBe(false);
});

test("readSpooledHistoryOrNull distinguishes a broken spool from a missing one", () => {
  const { live } = spooledHistory(3);
  const owner = { destination: live.state!.destination, name: live.state!.name };
  writeFileSync(live.pending[0]!.path, "torn");
  expect(readSpooledHistoryOrNull(live.paths, owner, false)).toMatchObject({ pending: null });
  rmSync(live.paths.spoolFolder, { recursive: true });
  expect(readSpooledHistoryOrNull(live.paths, owner, false)).toBeNull();
});
