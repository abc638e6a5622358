/**
 * The mode of a database, decided from its other connections: a table.
 */
import { describe, expect, test } from "bun:test";
import {
  decidePinMode,
  hidesCommits,
  PIN_CONDITIONS,
  type PinModeFacts,
} from "../../../src/database/pin/pin-mode.ts";

const ALONE: PinModeFacts = {
  path: "/srv/app.db",
  isInUse: false,
  isWalIndexShared: false,
  isWalIndexForeign: false,
  linkCount: 1,
  isMounted: false,
  hasOtherEngine: false,
  isWalGone: false,
  isForeignWalRead: false,
  hasUnseenCommits: false,
};
const SHARED = { isInUse: true, isWalIndexShared: true };
const FOREIGN = { isInUse: true, isWalIndexForeign: true };

describe("decidePinMode", () => {
  test.each<[string, Partial<PinModeFacts>, string, string | null]>([
    ["no other connection", {}, "pin", null],
    ["all share its wal-index", SHARED, "pin", null],
    ["a hard link without connections", { linkCount: 2 }, "pin", "more than one name (2 hard links)"],
    ["a mount of the file alone", { ...SHARED, isMounted: true }, "pin", "more than one name (the file is"],
    ["a process maps another wal-index", FOREIGN, "lockless", "does not use /srv/app.db-shm"],
    ["some share it and one does not", { ...SHARED, isWalIndexForeign: true }, "lockless", "does not use"],
    [
      "it is open under a hard link",
      { ...FOREIGN, linkCount: 3 },
      "lockless",
      "another of its names (3 hard",
    ],
    ["it is open through a mount", { ...FOREIGN, isMounted: true }, "lockless", "another of its names"],
    ["its WAL was deleted under it", { ...SHARED, isWalGone: true }, "lockless", "-wal was deleted while"],
    [
      "commits stay past the wal-index",
      { ...SHARED, hasUnseenCommits: true },
      "lockless",
      "its wal-index does not show",
    ],
    ["another engine's index", { hasOtherEngine: true }, "lockless", "/srv/app.db-tshm is a wal-index"],
  ])("%s", (_, facts, kind, message) => {
    const mode = decidePinMode({ ...ALONE, ...facts });
    expect(mode.kind).toBe(kind as never);
    if (message === null) expect(mode.condition).toBeNull();
    else {
      expect(mode.condition).toMatchObject({ health: "unhealthy", hint: expect.any(String) });
      expect(mode.condition?.message).toContain(message);
      expect(PIN_CONDITIONS).toContain(mode.condition?.code as never);
    }
  });

  test.each<[string, Partial<PinModeFacts>, boolean]>([
    ["of another name of the file", { ...FOREIGN, linkCount: 2 }, true],
    ["of a process with other files", FOREIGN, true],
    ["that was deleted", { ...SHARED, isWalGone: true }, true],
    ["of a process whose -shm alone was deleted", { ...FOREIGN, isForeignWalRead: true }, false],
    [
      "of such a process beside a link that nobody uses",
      { ...FOREIGN, linkCount: 2, isForeignWalRead: true },
      false,
    ],
    ["of another engine", { ...FOREIGN, hasOtherEngine: true }, false],
    ["past the wal-index", { ...SHARED, hasUnseenCommits: true }, false],
    ["of a link that nobody uses", { linkCount: 2 }, false],
  ])("commits in the -wal %s: whether they are hidden", (_, facts, isHidden) => {
    const { condition } = decidePinMode({ ...ALONE, ...facts });
    expect(hidesCommits(condition!)).toBe(isHidden);
  });
});
