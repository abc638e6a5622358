/** The file of each pushed name, and the names that have none. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { WalrustError } from "../../../src/errors.ts";
import { writeReplicaState } from "../../../src/recovery/replica/replica-state.ts";
import { bodyFolderOf, placeOf, recordedNameOrNull } from "../../../src/recovery/serve/replica-places.ts";
import { tempFolder } from "../../support/temp.ts";

function problemOf(run: () => unknown): string | null {
  try {
    run();
    return null;
  } catch (error) {
    if (error instanceof WalrustError && error.code === "usage") return error.message;
    throw error;
  }
}

describe("placeOf", () => {
  test("gives the file of --db to one name", () => {
    const places = { kind: "file", path: "/srv/replica.db" } as const;
    expect(placeOf(places, "app", [])).toBe("/srv/replica.db");
    expect(placeOf(places, "app", ["app"])).toBe("/srv/replica.db");
    expect(problemOf(() => placeOf(places, "other", ["app"]))).toContain("is a replica of app");
    expect(bodyFolderOf(places)).toBe("/srv");
  });

  test("gives each name a file below --dir", () => {
    const folder = tempFolder("places");
    const places = { kind: "folder", path: folder } as const;
    expect(placeOf(places, "tenants/app", ["app"])).toBe(join(folder, "tenants/app.db"));
    expect(bodyFolderOf(places)).toBe(folder);
  });

  test("refuses names that lead out of the folder or collide", () => {
    const folder = tempFolder("places");
    const inside = join(folder, "in");
    mkdirSync(inside);
    symlinkSync(folder, join(inside, "up"));
    const places = { kind: "folder", path: inside } as const;
    const names = [
      "..",
      "../x",
      "/x",
      "a/../../x",
      "",
      "a//b",
      "a\0",
      "up/x",
      "APP",
      "app.db/x",
      "app.db-wal/x",
    ];
    const accepted = names.filter((name) => problemOf(() => placeOf(places, name, ["app"])) === null);
    expect(accepted).toEqual([]);
  });
});

describe("recordedNameOrNull", () => {
  test("knows the replicas of serve alone", () => {
    const path = join(tempFolder("recorded"), "replica.db");
    expect(recordedNameOrNull(path)).toBeNull();
    writeReplicaState(path, { source: "s3://bucket/app", current: null, next: null });
    expect(recordedNameOrNull(path)).toBeNull();
    writeReplicaState(path, { source: "push:tenants/app", current: null, next: null });
    expect(recordedNameOrNull(path)).toBe("tenants/app");
  });
});
