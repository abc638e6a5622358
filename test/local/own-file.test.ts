/**
 * The rules for opening walrust's own files, each against every kind of thing that can stand at their path.
 * The system makes these things: `mkfifo`, links, sockets, a file under a lease.
 */
import { describe, expect, test } from "bun:test";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  closeSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { WalrustError } from "../../src/errors.ts";
import {
  closeFolderToOthers,
  createTemp,
  foreignFileReasonOrNull,
  openOwn,
  openOwnForUpdate,
  openOwnOrNull,
  readOwnOrNull,
  removeOwn,
  replaceOwn,
  sweepTemps,
} from "../../src/local/own-file.ts";
import { takeLeaseOrNull } from "../support/processes/lease.ts";
import { tempFolder } from "../support/temp.ts";

function failureOf(work: () => unknown): WalrustError {
  try {
    work();
  } catch (error) {
    if (error instanceof WalrustError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

/** The thing at the path, a function that makes it, and the error's words for it. */
const STRANGE: readonly [kind: string, make: (path: string) => void, said: string][] = [
  ["a FIFO", (path) => Bun.spawnSync(["mkfifo", path]), "it is a FIFO"],
  ["a folder", (path) => mkdirSync(path), "it is a folder"],
  ["a link to a file of ours", (path) => linkTo(path, true), "symbolic link"],
  ["a dangling link", (path) => linkTo(path, false), "symbolic link"],
];

function linkTo(path: string, isThere: boolean): void {
  if (isThere) writeFileSync(`${path}.target`, "text", { mode: 0o600 });
  symlinkSync(`${path}.target`, path);
}

describe("a file of walrust", () => {
  for (const [kind, make, said] of STRANGE) {
    test(`is never ${kind}, with any way of opening it`, () => {
      const path = join(tempFolder("own"), "state.json");
      make(path);
      for (const open of [openOwn, openOwnOrNull, openOwnForUpdate, (at: string) => readOwnOrNull(at, 100)]) {
        const { code, retryable, message } = failureOf(() => open(path));
        expect([code, message.includes(said), retryable]).toEqual(["database", true, false]);
      }
    });

    test(`replaces ${kind} when it is written, and does not change the target of a link`, () => {
      if (kind === "a folder") return;
      const path = join(tempFolder("own"), "state.json");
      make(path);
      replaceOwn(path, "ours");
      expect([readOwnOrNull(path, 100), statSync(path).mode & 0o777]).toEqual(["ours", 0o600]);
      if (kind === "a link to a file of ours") expect(readFileSync(`${path}.target`, "utf8")).toBe("text");
      expect(readdirSync(join(path, "..")).filter((name) => name.endsWith(".tmp"))).toEqual([]);
    });
  }

  test("gets mode 0600 when it is opened, from any mode", () => {
    const path = join(tempFolder("own"), "pages.sum");
    writeFileSync(path, "text");
    for (const mode of [0o664, 0o644, 0o777]) {
      chmodSync(path, mode);
      closeSync(openOwn(path));
      expect(statSync(path).mode & 0o777).toBe(0o600);
    }
  });

  test("is never a socket", async () => {
    const path = join(tempFolder("own"), "s");
    const server = createServer().listen(path);
    await new Promise((resolve) => server.once("listening", resolve));
    expect(failureOf(() => openOwn(path)).message).toContain("it is a socket");
    server.close();
  });

  test.skipIf(process.getuid?.() !== 0)("is never a file or device of another user", () => {
    const path = join(tempFolder("own"), "state.json");
    writeFileSync(path, "text", { mode: 0o600 });
    chownSync(path, 4242, 4242);
    expect(failureOf(() => openOwn(path)).message).toContain("user 4242 owns it");
    expect(failureOf(() => openOwn("/dev/null")).message).toContain("no regular file");
  });

  test("under a lease is refused at once, as a retryable error", async () => {
    const path = join(tempFolder("own"), "state.json");
    writeFileSync(path, "text", { mode: 0o600 });
    const end = await takeLeaseOrNull(path);
    if (end === null) return;
    const failure = failureOf(() => openOwn(path));
    expect([failure.retryable, failure.message.includes("EAGAIN")]).toEqual([true, true]);
    await end();
    closeSync(openOwn(path));
  });

  test("is not read if it is larger than allowed, even if it is sparse", () => {
    const path = join(tempFolder("own"), "state.json");
    writeFileSync(path, "", { mode: 0o600 });
    truncateSync(path, 60 * 1024 ** 3);
    expect(failureOf(() => readOwnOrNull(path, 64 * 1024)).message).toContain("expected at most 65536");
  });

  test("is null if missing, or a retryable error", () => {
    const path = join(tempFolder("own"), "state.json");
    expect([openOwnOrNull(path), readOwnOrNull(path, 1)]).toEqual([null, null]);
    expect(failureOf(() => openOwn(path)).retryable).toBe(true);
  });
});

describe("createTemp", () => {
  test("never takes a name twice, and nobody else can read its file", () => {
    const folder = tempFolder("own");
    const path = join(folder, "pages.sum");
    const [a, b] = [createTemp(path), createTemp(path)];
    expect(a.path).not.toBe(b.path);
    expect(statSync(a.path).mode & 0o777).toBe(0o600);
    for (const { fd } of [a, b]) closeSync(fd);
  });

  test("sweepTemps removes the files of a killed process, and nothing else", () => {
    const folder = tempFolder("own");
    closeSync(createTemp(join(folder, "pages.sum")).fd);
    writeFileSync(join(folder, "state.json.tmp"), "half written");
    writeFileSync(join(folder, "state.json"), "kept");
    mkdirSync(join(folder, "a.tmp"));
    sweepTemps(folder);
    expect(readdirSync(folder).sort()).toEqual(["a.tmp", "state.json"]);
  });
});

describe("closeFolderToOthers", () => {
  test("removes the access of others to a folder, and does not follow a link to another", () => {
    const folder = tempFolder("own");
    const [own, link] = [join(folder, "own"), join(folder, "link")];
    mkdirSync(own);
    chmodSync(own, 0o775);
    symlinkSync(own, link);
    expect(() => closeFolderToOthers(link)).toThrow();
    expect(statSync(own).mode & 0o777).toBe(0o775);
    closeFolderToOthers(own);
    expect(statSync(own).mode & 0o777).toBe(0o700);
  });
});

test("foreignFileReasonOrNull accepts a regular file of this user with any number of names", () => {
  const path = join(tempFolder("own"), "f");
  writeFileSync(path, "", { mode: 0o644 });
  linkSync(path, `${path}.second`);
  const stats = statSync(path);
  expect(foreignFileReasonOrNull(stats, stats.uid)).toBeNull();
  expect(foreignFileReasonOrNull(stats, stats.uid + 1)).toContain(`expected user ${stats.uid + 1}`);
});

/** The number of our open descriptors of a file, whether it still has its name or not. */
function descriptorsOf(path: string): number {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith(path);
    } catch {
      return false;
    }
  }).length;
}

test.each([
  ["a small file", 10],
  ["a large file", 200 << 20],
])("removeOwn takes the name of %s at once, and keeps no descriptor", async (_, sizeBytes) => {
  const path = join(tempFolder("own"), "file");
  writeFileSync(path, "");
  truncateSync(path, sizeBytes);
  removeOwn(path, sizeBytes);
  expect(statSync(path, { throwIfNoEntry: false })).toBeUndefined();
  while (descriptorsOf(path) > 0) await new Promise((resolve) => setImmediate(resolve));
  removeOwn(path, sizeBytes);
});

test.each(["another descriptor", "another name"])("removeOwn leaves the content to %s", async (access) => {
  const path = join(tempFolder("own"), "file");
  const sizeBytes = 130 << 20;
  writeFileSync(path, "");
  // The file takes little room on the disk.
  truncateSync(path, sizeBytes - 4);
  appendFileSync(path, "tail");
  const isName = access === "another name";
  if (isName) linkSync(path, `${path}.second`);
  const before = isName ? null : openSync(path, "r");
  removeOwn(path, sizeBytes);
  while (descriptorsOf(path) > (isName ? 0 : 1)) await new Promise((resolve) => setImmediate(resolve));
  const reader = before ?? openSync(`${path}.second`, "r");
  const bytes = Buffer.alloc(4);
  expect([readSync(reader, bytes, 0, 4, sizeBytes - 4), bytes.toString()]).toEqual([4, "tail"]);
  closeSync(reader);
});
