/** The limit on open files: the needed number, and one warning for a limit that is too low. */
import { describe, expect, test } from "bun:test";
import {
  OpenFilesWatch,
  openFilesLimitOrNull,
  openFilesNeeded,
} from "../../../src/commands/watch/open-files.ts";
import { ManualTime } from "../../observability/manual-time.ts";

test("openFilesNeeded grows by two a database and by one an upload", () => {
  const none = openFilesNeeded(0, 0);
  expect(openFilesNeeded(500, 0) - none).toBe(1_000);
  expect(openFilesNeeded(0, 64) - none).toBe(64);
});

test.skipIf(process.platform !== "linux")("openFilesLimitOrNull is the kernel's limit", () => {
  const child = Bun.spawnSync(["sh", "-c", "ulimit -n"]);
  const text = child.stdout.toString().trim();
  expect(openFilesLimitOrNull()).toBe(text === "unlimited" ? null : Number(text));
});

describe("OpenFilesWatch", () => {
  test("warns once, with the needed number, when the limit is too low", () => {
    const { env, lines } = new ManualTime();
    const watch = new OpenFilesWatch(8, env, () => 1_024);
    watch.check(400);
    expect(lines).toEqual([]);
    watch.check(500);
    watch.check(600);
    const needed = openFilesNeeded(500, 8);
    expect(lines.length).toBe(1);
    expect(lines[0]!.level).toBe("warn");
    const message = `this process may open 1024 files, and 500 databases need up to ${needed}`;
    expect(lines[0]!.text).toStartWith(message);
    expect(lines[0]!.text).toContain(`LimitNOFILE=${needed}`);
  });

  test("does not warn where no limit exists or is known", () => {
    const { env, lines } = new ManualTime();
    new OpenFilesWatch(8, env, () => null).check(1_000_000);
    expect(lines).toEqual([]);
  });
});
