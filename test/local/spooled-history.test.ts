/**
 * The history of a database that is not attached: the owner of its spool, and the remains of a damaged spool.
 */
import { expect, test } from "bun:test";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { acknowledgedTxid, readSpooledHistoryOrNull } from "../../src/local/spooled-history.ts";
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

test("acknowledgedTxid is the TXID before the first file that waits, and 0 for another owner", () => {
  const { live } = spooledHistory(3);
  const { destination, name } = live.state!;
  const owner = { destination, name };
  expect(acknowledgedTxid(live.paths, owner)).toBe(0);
  rmSync(live.pending[0]!.path);
  rmSync(live.pending[1]!.path);
  expect(acknowledgedTxid(live.paths, owner)).toBe(2);
  expect(acknowledgedTxid(live.paths, { destination, name: "other" })).toBe(0);
  rmSync(live.paths.spoolFolder, { recursive: true });
  expect(acknowledgedTxid(live.paths, owner)).toBe(3);
});

test("acknowledgedTxid is unknown with a broken spool or a lost state, and 0 without a state", () => {
  const { live } = spooledHistory(3);
  const owner = { destination: live.state!.destination, name: live.state!.name };
  writeFileSync(live.pending[0]!.path, "torn");
  expect(acknowledgedTxid(live.paths, owner)).toBe("unknown");
  writeFileSync(live.paths.statePath, "torn");
  expect(acknowledgedTxid(live.paths, owner)).toBe("unknown");
  rmSync(live.paths.statePath);
  expect(acknowledgedTxid(live.paths, owner)).toBe(0);
});
