/**
 * How a database is held, decided from who else uses it and how: a table.
 */
import { describe, expect, test } from "bun:test";
import { decidePinMode, PIN_CONDITIONS, type PinModeFacts } from "../../../src/database/pin/pin-mode.ts";

const ALONE: PinModeFacts = {
  path: "/srv/app.db",
  isInUse: false,
  isWalIndexShared: false,
  isWalIndexForeign: false,
  linkCount: 1,
  isMounted: false,
  hasOtherEngine: false,
  isWalGone: false,
  hasUnseenCommits: false,
};
const SHARED = { isInUse: true, isWalIndexShared: true };
const FOREIGN = { isInUse: true, isWalIndexForeign: true };

describe("decidePinMode", () => {
  test.each<[string, Partial<PinModeFacts>, string, string | null]>([
    ["nobody has it open", {}, "pin", null],
    ["all share its wal-index", SHARED, "pin", null],
    ["a hard link that nobody uses", { linkCount: 2 }, "pin", "more than one name (2 hard links)"],
    ["a mount of the file alone", { ...SHARED, isMounted: true }, "pin", "more than one name (the file is"],
    ["somebody maps another wal-index", FOREIGN, "lockless", "does not use /srv/app.db-shm"],
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
      "index of it does not",
    ],
    ["another engine's index", { hasOtherEngine: true }, "lockless", "/srv/app.db-tshm is an index"],
  ])("%s", (_, facts, kind, message) => {
    const grip = decidePinMode({ ...ALONE, ...facts });
    expect(grip.kind).toBe(kind as never);
    if (message === null) expect(grip.condition).toBeNull();
    else {
      expect(grip.condition).toMatchObject({ health: "unhealthy", hint: expect.any(String) });
      expect(grip.condition?.message).toContain(message);
      expect(PIN_CONDITIONS).toContain(grip.condition?.code as never);
    }
  });
});
