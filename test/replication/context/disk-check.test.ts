/** DiskCheck: its conditions, the names in them, and how often it reads a file system. */
import { expect, test } from "bun:test";
import { mkdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Condition } from "../../../src/errors.ts";
import { DiskCheck, type DiskUser } from "../../../src/replication/context/disk-check.ts";
import { tempFolder } from "../../support/temp.ts";

const MB = 2 ** 20;
const GB = 2 ** 30;

/** Disks by the first folder of a path, and what the check raises and clears. */
class World {
  readonly freeBytes = new Map([
    ["data", 50 * GB],
    ["cache", 50 * GB],
  ]);
  readonly raised = new Map<string, Condition>();
  readonly calls = { place: 0, room: 0 };
  readonly check: DiskCheck;
  #nowMs = 0;

  constructor() {
    const disks = [...this.freeBytes.keys()];
    const diskOf = (folder: string): string => folder.split("/")[1]!;
    const sink = {
      raise: (condition: Condition) => void this.raised.set(condition.code, condition),
      clear: (code: string) => void this.raised.delete(code),
    };
    this.check = new DiskCheck(sink, {
      placeOrNull: (folder) => {
        this.calls.place++;
        const device = disks.indexOf(diskOf(folder));
        return device === -1 ? null : { device, folder };
      },
      roomOf: (folder) => {
        this.calls.room++;
        return { freeBytes: this.freeBytes.get(diskOf(folder))!, totalBytes: 100 * GB };
      },
    });
  }

  /** Polls now, and moves the clock. */
  poll(users: readonly DiskUser[], passMs = 2_000): void {
    this.check.poll(this.#nowMs, users);
    this.#nowMs += passMs;
  }

  get messages(): [code: string, health: string, message: string][] {
    return [...this.raised.values()].map(({ code, health, message }) => [code, health, message]);
  }
}

function user(name: string, cacheFolder = `/cache/${name}`): DiskUser {
  const folder = `/data/.${name}-walrust`;
  return { name, target: { path: `/data/${name}.db`, paths: { folder, spoolFolder: `${cacheFolder}/ltx` } } };
}

test("a disk that fills up is degraded first, then unhealthy, and names the databases on it", () => {
  const world = new World();
  const users = ["app", "shop", "crm", "wiki", "blog"].map((name) => user(name));
  world.poll(users);
  expect(world.messages).toEqual([]);
  world.freeBytes.set("data", 400 * MB);
  world.poll(users);
  expect(world.messages).toEqual([
    [
      "disk-nearly-full",
      "degraded",
      "the disk with the databases app, shop, crm and 2 more has 400 MB left: below 256 MB no snapshot is " +
        "written, and on a full disk nothing is captured",
    ],
  ]);
  expect(world.raised.get("disk-nearly-full")!.hint).toStartWith("Soon free some space");
  world.freeBytes.set("data", 3 * MB);
  world.poll(users);
  expect(world.messages).toEqual([
    [
      "disk-full",
      "unhealthy",
      "the disk with the databases app, shop, crm and 2 more has 3 MB left: commits there are not captured " +
        "until there is room",
    ],
  ]);
  world.freeBytes.set("data", 50 * GB);
  world.poll(users);
  expect(world.messages).toEqual([]);
});

test("a disk with captured files alone, beside another that is short, too", () => {
  const world = new World();
  const users = [user("app"), user("shop", "/data/cache")];
  world.freeBytes.set("cache", MB);
  world.poll(users);
  expect(world.messages[0]![2]).toStartWith(
    "the disk with the captured files of the database app has 1 MB left: ",
  );
  world.freeBytes.set("data", 2 * MB);
  world.poll(users);
  expect(world.messages.length).toBe(1);
  expect(world.messages[0]![2]).toStartWith(
    "the disk with the databases app, shop has 2 MB left; " +
      "the disk with the captured files of the database app has 1 MB left: ",
  );
});

test("500 databases cost one look a file system and interval", () => {
  const world = new World();
  const users = Array.from({ length: 500 }, (_, index) => user(`t${index}`, "/cache"));
  world.poll(users, 1_999);
  expect(world.calls).toEqual({ place: 2, room: 2 });
  world.poll(users, 1);
  expect(world.calls.room).toBe(2);
  for (let second = 2; second < 60; second += 2) world.poll(users);
  expect(world.calls).toEqual({ place: 2, room: 60 });
  world.poll(users.slice(1), 0);
  expect(world.calls).toEqual({ place: 4, room: 62 });
});

test("folders that are gone are no disks, and a level survives the next grouping", () => {
  const world = new World();
  const lost: DiskUser = {
    name: "lost",
    target: { path: "/gone/lost.db", paths: { folder: "/gone/x", spoolFolder: "/gone/y/ltx" } },
  };
  world.freeBytes.set("data", 10 * MB);
  world.poll([lost, user("app")]);
  world.freeBytes.set("data", 19 * MB);
  world.poll([user("app")]);
  expect(world.messages.map(([code]) => code)).toEqual(["disk-full"]);
});

test("the system's folders: a missing one counts as the nearest one above it", () => {
  const folder = tempFolder("disks");
  mkdirSync(join(folder, "data"));
  const { source } = new DiskCheck({ raise: () => {}, clear: () => {} });
  const { dev } = statSync(folder);
  expect(source.placeOrNull(join(folder, "data"))).toEqual({ device: dev, folder: join(folder, "data") });
  const absent = join(folder, "data", "a", "b");
  expect(source.placeOrNull(absent)).toEqual({ device: dev, folder: dirname(dirname(absent)) });
  expect(source.roomOf(folder).totalBytes).toBeGreaterThan(0);
});
