/** Options and plan of the drill. */
import { describe, expect, test } from "bun:test";
import { parseSettings, replayLine } from "../../../scripts/drill/options.ts";
import { planKills } from "../../../scripts/drill/plan.ts";
import { planDatabases } from "../../../scripts/measure/journal/planned-databases.ts";

describe("parseSettings of the drill", () => {
  test("has defaults, and takes the seed at hand", () => {
    expect(parseSettings([], 7)).toEqual({
      ...{
        killCount: 200,
        databaseCount: 4,
        killsPerCheck: 20,
        seed: 7,
        recoveryLimitMs: 5_000,
        binary: null,
        keepPath: null,
        isObserved: false,
      },
    });
  });

  test("replayLine gives the same settings again", () => {
    const words = ["--kills", "9", "--kills-per-check", "3", "--databases", "2", "--observed"];
    const settings = parseSettings(words, 7);
    expect(settings.isObserved).toBe(true);
    expect(parseSettings(replayLine(settings).split(" ").slice(3), 99)).toEqual(settings);
  });

  test.each([
    [["--kills", "1"], "--kills 1: expected a whole number from 2"],
    [["--kills", ""], "--kills : expected a whole number"],
    [["--seed", "1.5"], "--seed 1.5: expected a whole number from 0"],
    [["--rounds", "1"], "--rounds"],
    [["200"], "200"],
  ])("rejects %p", (words, message) => {
    expect(() => parseSettings(words, 7)).toThrow(message);
  });
});

describe("planKills", () => {
  const kills = planKills(3, 400, 5);

  test("the same seed gives the same kills, another seed others", () => {
    expect(planKills(3, 400, 5)).toEqual(kills);
    expect(planKills(4, 400, 5)).not.toEqual(kills);
  });

  test("kills come at every moment, at once and after a pause, with any writer or none", () => {
    const shareOf = (passes: (kill: (typeof kills)[number]) => boolean): number =>
      kills.filter(passes).length / kills.length;
    expect(shareOf(({ moment }) => moment === "starting")).toBeWithin(0.25, 0.45);
    expect(shareOf(({ downMs }) => downMs === 0)).toBeWithin(0.4, 0.6);
    expect(shareOf(({ writerIndex }) => writerIndex !== null)).toBeWithin(0.1, 0.3);
    const writers = new Set(kills.map(({ writerIndex }) => writerIndex));
    expect(writers).toEqual(new Set([null, 0, 1, 2, 3, 4]));
  });
});

test("planDatabases: four databases have several page sizes, and one has two writers", () => {
  const databases = planDatabases(3, 4, 0.1);
  expect(planDatabases(3, 4, 0.1)).toEqual(databases);
  expect(new Set(databases.map(({ pageSizeBytes }) => pageSizeBytes))).toEqual(
    new Set([1_024, 4_096, 16_384]),
  );
  expect(databases.map(({ writers }) => writers.length)).toEqual([2, 1, 1, 1]);
  expect(databases.flatMap(({ writers }) => writers).every(({ vacuumShare }) => vacuumShare === 0.1)).toBe(
    true,
  );
  expect(new Set(databases.flatMap(({ writers }) => writers.map(({ seed }) => seed))).size).toBe(5);
});
