/**
 * The target of a restore: its folder through links and exchanged folders, and the owner and mode of its
 * file.
 */
import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { hasCode } from "../../../src/errors.ts";
import { DatabaseBuilder } from "../../../src/recovery/restore/database-builder.ts";
import {
  accessForTarget,
  accessInFolder,
  attainableMode,
} from "../../../src/recovery/restore/target-access.ts";
import { assertTargetFree, replaceTarget } from "../../../src/recovery/restore/target-file.ts";
import { resolvePlace, TargetFolder } from "../../../src/recovery/restore/target-folder.ts";
import { tempFolder } from "../../support/temp.ts";

const isRoot = process.geteuid?.() === 0;
const TENANT = 4242;
const OTHER = 4243;
const STAMP = "2026-03-01T12-00-00-000Z";

const folderOf = (): string => realpathSync(tempFolder("target"));

function codeOf(run: () => unknown): string {
  try {
    run();
    return "none";
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  }
}

describe("resolvePlace", () => {
  test("a plain path, existing or not", () => {
    const folder = folderOf();
    const path = join(folder, "none", "app.db");
    expect(resolvePlace(path)).toEqual({ path, isLinked: false });
  });

  test("links of files and folders, relative and absolute, with .. behind a link, and dangling ones", () => {
    const folder = folderOf();
    mkdirSync(join(folder, "releases", "7", "data"), { recursive: true });
    symlinkSync("releases/7/data", join(folder, "current"));
    symlinkSync(join(folder, "current", "..", "shared.db"), join(folder, "app.db"));
    symlinkSync("../nothing/app.db", join(folder, "releases", "lost.db"));
    const linked = (...words: string[]) => resolvePlace(join(folder, ...words));
    const data = join(folder, "releases", "7");
    expect(linked("current", "x.db")).toEqual({ path: join(data, "data", "x.db"), isLinked: false });
    // As the kernel resolves it: .. is the parent of the link's target.
    expect(linked("app.db")).toEqual({ path: join(folder, "shared.db"), isLinked: true });
    expect(linked("releases", "lost.db")).toEqual({
      path: join(folder, "nothing", "app.db"),
      isLinked: true,
    });
  });

  test("circular links are refused", () => {
    const folder = folderOf();
    symlinkSync("b", join(folder, "a"));
    symlinkSync("a", join(folder, "b"));
    expect(codeOf(() => resolvePlace(join(folder, "a")))).toBe("usage");
  });

  test.skipIf(!isRoot)("a link of another user may lead to that user's files only", () => {
    const folder = folderOf();
    const place = (name: string, uid: number): string => {
      mkdirSync(join(folder, name));
      chownSync(join(folder, name), uid, uid);
      return join(folder, name);
    };
    const [tenants, others, roots] = [place("tenant", TENANT), place("other", OTHER), place("root", 0)];
    const link = (name: string, target: string): string => {
      symlinkSync(target, join(tenants, name));
      lchownSync(join(tenants, name), TENANT, TENANT);
      return join(tenants, name);
    };
    expect(resolvePlace(link("own.db", "real.db")).path).toBe(join(tenants, "real.db"));
    for (const target of [others, roots]) {
      writeFileSync(join(target, "victim.db"), "x");
      chownSync(join(target, "victim.db"), target === others ? OTHER : 0, 0);
      const name = target === others ? "o" : "r";
      expect(codeOf(() => resolvePlace(link(`${name}-file`, join(target, "victim.db"))))).toBe("usage");
      expect(codeOf(() => resolvePlace(link(`${name}-new`, join(target, "new.db"))))).toBe("usage");
      expect(codeOf(() => resolvePlace(join(link(`${name}-folder`, target), "new.db")))).toBe("usage");
    }
  });
});

describe("TargetFolder", () => {
  test("creates missing folders, as private ones", () => {
    const folder = folderOf();
    chmodSync(folder, 0o755);
    TargetFolder.open(join(folder, "a", "b", "app.db")).close();
    expect(statSync(join(folder, "a")).mode & 0o777).toBe(0o700);
    expect(statSync(join(folder, "a", "b")).mode & 0o777).toBe(0o700);
  });

  test.skipIf(!isRoot)("folders made by root belong to the owner of the parent folder", () => {
    const folder = folderOf();
    chownSync(folder, TENANT, OTHER);
    TargetFolder.open(join(folder, "a", "b", "app.db")).close();
    const { uid, gid } = statSync(join(folder, "a", "b"));
    expect([uid, gid]).toEqual([TENANT, OTHER]);
  });

  test("refuses a folder that was replaced with a link", () => {
    const folder = folderOf();
    mkdirSync(join(folder, "real"));
    symlinkSync("real", join(folder, "link"));
    for (const path of [join(folder, "link", "app.db"), join(folder, "link", "new", "app.db")]) {
      expect(codeOf(() => TargetFolder.open(path))).toBe("database");
    }
    expect(readdirSync(join(folder, "real"))).toEqual([]);
  });

  // The owner of the parent folder may exchange the target's folder at any time.
  test.skipIf(process.platform !== "linux")(
    "writes into the folder that it opened, whatever has its name later",
    () => {
      const folder = folderOf();
      mkdirSync(join(folder, "data"));
      mkdirSync(join(folder, "victim"));
      writeFileSync(join(folder, "victim", "app.db"), "precious");
      writeFileSync(join(folder, "data", "app.db"), "old");
      const target = TargetFolder.open(join(folder, "data", "app.db"));
      const builder = new DatabaseBuilder(target.shown(".t"), target.at(".t"));
      renameSync(join(folder, "data"), join(folder, "moved"));
      symlinkSync("victim", join(folder, "data"));
      builder.setAccess({ uid: process.getuid!(), gid: process.getgid!(), mode: 0o640 });
      replaceTarget(target, { name: ".t", stats: builder.stats, logs: [] }, STAMP);
      builder.close();
      target.close();
      expect(readFileSync(join(folder, "victim", "app.db"), "utf8")).toBe("precious");
      expect(readdirSync(join(folder, "victim"))).toEqual(["app.db"]);
      expect(statSync(join(folder, "moved", "app.db")).mode & 0o777).toBe(0o640);
    },
  );

  test("a target that became a link is refused, and the link's target is untouched", () => {
    const folder = folderOf();
    writeFileSync(join(folder, "victim"), "precious");
    const target = TargetFolder.open(join(folder, "app.db"));
    symlinkSync("victim", join(folder, "app.db"));
    expect(codeOf(() => assertTargetFree(target, true))).toBe("usage");
    rmSync(join(folder, "app.db"));
    symlinkSync("victim", join(folder, "app.db-wal"));
    expect(codeOf(() => assertTargetFree(target, true))).toBe("usage");
    target.close();
    expect(readFileSync(join(folder, "victim"), "utf8")).toBe("precious");
  });

  test("replaceTarget fails if the temporary file was exchanged", () => {
    const folder = folderOf();
    const target = TargetFolder.open(join(folder, "app.db"));
    const builder = new DatabaseBuilder(target.shown(".t"), target.at(".t"));
    rmSync(join(folder, ".t"));
    writeFileSync(join(folder, ".t"), "another");
    const incoming = { name: ".t", stats: builder.stats, logs: [] };
    expect(codeOf(() => replaceTarget(target, incoming, STAMP))).toBe("database");
    builder.close();
    target.close();
  });
});

describe("DatabaseBuilder", () => {
  test("its file is private from the start, and never replaces an existing file", () => {
    const folder = folderOf();
    const umask = process.umask(0);
    const builder = new DatabaseBuilder(join(folder, "t"));
    process.umask(umask);
    expect(statSync(join(folder, "t")).mode & 0o777).toBe(0o600);
    builder.close();
    symlinkSync("elsewhere", join(folder, "link"));
    const failure = ((): unknown => {
      try {
        return new DatabaseBuilder(join(folder, "link"));
      } catch (error) {
        return error;
      }
    })();
    expect([hasCode(failure, "database"), existsSync(join(folder, "elsewhere"))]).toEqual([true, false]);
  });

  // A path-based chown would give away any file that has the temporary name by then.
  test.skipIf(!isRoot)("setAccess follows the file, not its name", () => {
    const folder = folderOf();
    writeFileSync(join(folder, "shadow"), "secret");
    chmodSync(join(folder, "shadow"), 0o600);
    const builder = new DatabaseBuilder(join(folder, "t"));
    renameSync(join(folder, "t"), join(folder, "stolen"));
    symlinkSync("shadow", join(folder, "t"));
    builder.setAccess({ uid: TENANT, gid: TENANT, mode: 0o666 });
    builder.close();
    const { uid, mode } = statSync(join(folder, "shadow"));
    expect([uid, mode & 0o777]).toEqual([0, 0o600]);
    expect(statSync(join(folder, "stolen")).uid).toBe(TENANT);
  });
});

describe("owner and mode of a restored file", () => {
  const folder = (mode: number) => ({ uid: 1, gid: 2, mode });

  test.each([
    [0o755, 0o600, 0o700],
    [0o700, 0o600, 0o700],
    [0o750, 0o600, 0o700],
    [0o770, 0o660, 0o770],
    [0o2770, 0o660, 0o2770],
    [0o775, 0o660, 0o770],
    [0o1777, 0o600, 0o700],
    [0o777, 0o600, 0o700],
  ])("in a folder of mode %o", (mode, fileMode, folderMode) => {
    expect(accessInFolder(folder(mode))).toEqual({ uid: 1, gid: 2, fileMode, folderMode });
    const access = accessForTarget(null, folder(mode));
    expect(access).toEqual({ uid: 1, gid: 2, mode: fileMode, from: "folder" });
  });

  test("follow the replaced file, without setuid and setgid", () => {
    const replaced = { uid: 7, gid: 8, mode: 0o106_644 };
    expect(accessForTarget(replaced, folder(0o700))).toEqual({
      ...{ uid: 7, gid: 8, mode: 0o644 },
      from: "replaced-file",
    });
  });

  test("omit access for a group that could not be set", () => {
    const wanted = { uid: 1, gid: 2, mode: 0o664 };
    expect(attainableMode(wanted, { gid: 2 })).toBe(0o664);
    expect(attainableMode(wanted, { gid: 3 })).toBe(0o604);
  });
});
