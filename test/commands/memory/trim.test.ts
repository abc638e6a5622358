/** trimUntil: its times, the checks before each drop, and its end when something is unexpected. */
import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { parseSmapsOrNull } from "../../../src/commands/memory/smaps.ts";
import {
  CHECK_INTERVAL_MS,
  type OwnMemory,
  ownMemoryOrNull,
  TRIM_INTERVAL_MS,
  trimUntil,
} from "../../../src/commands/memory/trim.ts";
import { planTrim, trimmableAtStart } from "../../../src/commands/memory/trimmable.ts";
import { ManualTime } from "../../observability/manual-time.ts";
import { eventually } from "../../support/eventually.ts";
import { EXECUTABLE, headerText, type MappingText, recordText } from "./smaps-text.ts";

const CODE: MappingText = {};
const DATA: MappingText = { range: "00200000-01a39000", mode: "r--p", flags: "rd mr mw me" };
const RELRO: MappingText = { ...DATA, range: "0685f000-06867000", flags: "rd mr mw me ac", anonymousKb: 12 };

/** A process whose mappings a test changes. */
class FakeMemory implements OwnMemory {
  readonly executable = EXECUTABLE;
  mappings: readonly MappingText[] = [DATA, CODE, RELRO];
  readonly reads: string[] = [];
  readonly drops: string[] = [];
  failure: Error | null = null;
  isRefused = false;
  smapsText: string | null = null;

  read(name: "maps" | "smaps"): string {
    this.reads.push(name);
    if (this.failure !== null) throw this.failure;
    if (name === "maps") return this.mappings.map((facts) => `${headerText(facts)}\n`).join("");
    return this.smapsText ?? this.mappings.map(recordText).join("");
  }

  drop({ identity }: { readonly identity: string }): boolean {
    if (!this.isRefused) this.drops.push(identity.split(" ")[0]!);
    return !this.isRefused;
  }
}

/** A trimming that runs until `end`. */
function startTrimming(memory: FakeMemory): { time: ManualTime; end: () => Promise<void> } {
  const time = new ManualTime();
  const ending = new AbortController();
  const ended = trimUntil(ending.signal, time.env, memory);
  return {
    time,
    end: async () => {
      ending.abort();
      await ended;
    },
  };
}

/** Lets one interval pass, until the next sleep has begun. @returns the length of the interval */
async function passInterval(time: ManualTime): Promise<number> {
  const intervalMs = await pendingSleepMs(time);
  time.pass(intervalMs);
  await pendingSleepMs(time);
  return intervalMs;
}

async function pendingSleepMs(time: ManualTime): Promise<number> {
  await eventually("a sleep", async () => time.sleepsMs.length > 0);
  return time.sleepsMs[0]!;
}

/** Lets one interval pass in which the trimming ends. @returns the lines of the log */
async function passLastInterval(time: ManualTime): Promise<string[]> {
  time.pass(await pendingSleepMs(time));
  await time.env.turn();
  expect(time.sleepsMs).toEqual([]);
  expect(time.lines.every(({ level }) => level === "debug")).toBe(true);
  return time.said("debug");
}

describe("trimUntil", () => {
  test("drops the clean mappings at each interval, and compares them with maps before", async () => {
    const memory = new FakeMemory();
    const { time, end } = startTrimming(memory);
    expect(memory.drops).toEqual([]);
    await passInterval(time);
    const clean = [DATA.range!, "01a40000-0684a000"];
    expect(memory.drops).toEqual(clean);
    await passInterval(time);
    expect(memory.drops).toEqual([...clean, ...clean]);
    // Once at the start, once before the first drop.
    expect(memory.reads).toEqual(["smaps", "smaps", "maps", "maps"]);
    expect(time.lines).toEqual([]);
    await end();
    expect(time.sleepsMs).toEqual([]);
  });

  test("begins soon after the start, and each interval is twice as long until it is a second", async () => {
    const { time, end } = startTrimming(new FakeMemory());
    const intervals: number[] = [];
    for (let count = 0; count < 6; count++) intervals.push(await passInterval(time));
    expect(intervals).toEqual([100, 200, 400, 800, TRIM_INTERVAL_MS, TRIM_INTERVAL_MS]);
    await end();
  });

  test("reads smaps again after the check interval, and leaves what is no longer clean", async () => {
    const memory = new FakeMemory();
    const { time, end } = startTrimming(memory);
    await passInterval(time);
    memory.mappings = [DATA, { ...CODE, anonymousKb: 4 }, RELRO];
    memory.drops.length = 0;
    time.pass(CHECK_INTERVAL_MS);
    await passInterval(time);
    expect(new Set(memory.drops)).toEqual(new Set([DATA.range!]));
    await end();
  });

  test("takes a mapping that was dirty at first as soon as a check finds it clean", async () => {
    const memory = new FakeMemory();
    memory.mappings = [{ ...CODE, dirtyKb: 35_180 }];
    const { time, end } = startTrimming(memory);
    await passInterval(time);
    expect(memory.drops).toEqual([]);
    memory.mappings = [CODE];
    time.pass(CHECK_INTERVAL_MS);
    await passInterval(time);
    expect(new Set(memory.drops)).toEqual(new Set(["01a40000-0684a000"]));
    await end();
  });

  test("never drops a mapping that appeared after the start", async () => {
    const memory = new FakeMemory();
    memory.mappings = [DATA];
    const { time, end } = startTrimming(memory);
    memory.mappings = [DATA, CODE];
    await passInterval(time);
    expect(memory.drops).toEqual([DATA.range!]);
    await end();
  });

  const changes: readonly (readonly [string, readonly MappingText[]])[] = [
    ["becomes writable", [DATA, { ...CODE, mode: "rwxp" }]],
    ["is split", [DATA, { ...CODE, range: "01a40000-01a50000" }, { ...CODE, range: "01a50000-0684a000" }]],
    ["maps another file", [DATA, { ...CODE, file: "fe:00 7" }]],
    ["is gone", [DATA]],
  ];
  for (const [what, mappings] of changes) {
    test(`ends without a drop when a mapping ${what}`, async () => {
      const memory = new FakeMemory();
      const { time, end } = startTrimming(memory);
      await passInterval(time);
      memory.drops.length = 0;
      memory.mappings = mappings;
      expect((await passLastInterval(time)).join()).toContain("a mapping of the executable changed");
      expect(memory.drops).toEqual([]);
      await end();
    });
  }

  test("ends when the kernel refuses a drop, or no longer shows smaps", async () => {
    const refusing = new FakeMemory();
    refusing.isRefused = true;
    const { time, end } = startTrimming(refusing);
    expect((await passLastInterval(time)).join()).toContain("madvise refuses 00200000-01a39000");
    await end();

    const hiding = new FakeMemory();
    const other = startTrimming(hiding);
    hiding.failure = new Error("ENOENT: /proc/self/smaps");
    expect((await passLastInterval(other.time)).join()).toContain("ENOENT");
    expect(hiding.drops).toEqual([]);
    await other.end();
  });

  test("does nothing where smaps is missing, unknown or shows no safe mapping at the start", async () => {
    const missing = new FakeMemory();
    missing.failure = new Error("ENOENT");
    const unknown = new FakeMemory();
    unknown.smapsText = "Rss: many\n";
    const foreign = new FakeMemory();
    foreign.mappings = [RELRO];
    for (const memory of [missing, unknown, foreign]) {
      const { time, end } = startTrimming(memory);
      await time.env.turn();
      expect(time.sleepsMs).toEqual([]);
      expect(time.lines.map(({ level }) => level)).toEqual(["debug"]);
      expect(memory.drops).toEqual([]);
      await end();
    }
  });
});

test.skipIf(process.platform !== "linux")("ownMemoryOrNull drops mappings of a process that goes on", () => {
  const memory = ownMemoryOrNull()!;
  const mappings = parseSmapsOrNull(memory.read("smaps"))!;
  const plan = planTrim(mappings, trimmableAtStart(mappings, memory.executable));
  expect(plan.length).toBeGreaterThan(0);
  const work = (): string => {
    Bun.gc(true);
    return createHash("sha256")
      .update(JSON.stringify(/(a+)b/.exec("aaab")))
      .digest("hex");
  };
  const before = work();
  for (let round = 0; round < 50; round++) {
    expect(plan.map((mapping) => memory.drop(mapping))).toEqual(plan.map(() => true));
    expect(work()).toBe(before);
  }
});
