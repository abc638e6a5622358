/**
 * FileStore passes the contract, and survives crashes, other writers and full disks as its header promises.
 */
import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { fileError } from "../../../src/storage/file/file-calls.ts";
import { FileStore } from "../../../src/storage/file/file-store.ts";
import { tempFolder } from "../../support/temp.ts";
import { storeContract } from "../contract/contract.ts";
import { expectCode, keysOf, text, textBody } from "../contract/store-helpers.ts";

const FILE_STORE = join(import.meta.dir, "../../../src/storage/file/file-store.ts");

storeContract("FileStore", {
  open: () => new FileStore({ path: tempFolder("store") }),
  openMissing: () => new FileStore({ path: join(tempFolder("store"), "none") }),
  putCreatesBucket: true,
  // Each put waits for the disk four times.
  manyCount: 100,
});

describe("FileStore layout", () => {
  test("put leaves the object, its sidecar and no other file", async () => {
    const path = tempFolder("store");
    const store = new FileStore({ path });
    await store.put("db/ltx/0/1-1.ltx", textBody("x"), { createOnly: true, metadata: { chain: "c" } });
    await store.put("db/ltx/0/1-1.ltx", textBody("yy"), { metadata: { chain: "d" } });
    expect(readdirSync(join(path, "db/ltx/0")).sort()).toEqual(["1-1.ltx", "1-1.ltx.meta.json"]);
    expect(readFileSync(join(path, "db/ltx/0/1-1.ltx"), "utf8")).toBe("yy");
    const sidecar = JSON.parse(readFileSync(join(path, "db/ltx/0/1-1.ltx.meta.json"), "utf8"));
    const sha256 = new Bun.CryptoHasher("sha256").update("yy").digest("hex");
    expect(sidecar).toEqual({ version: 1, sizeBytes: 2, sha256, metadata: { chain: "d" } });
  });

  test("put sets the modification time, to the ms", async () => {
    const path = tempFolder("store");
    const store = new FileStore({ path });
    const modifiedMs = Date.UTC(2025, 3, 5, 6, 7, 8, 901);
    await store.put("a", textBody("x"), { modifiedMs, createOnly: true });
    // To the nanosecond: Litestream compares the time with the requested time.
    expect(statSync(join(path, "a"), { bigint: true }).mtimeNs).toBe(BigInt(modifiedMs) * 1_000_000n);
    expect((await store.head("a")).modifiedMs).toBe(modifiedMs);
  });

  test("get of a Litestream object has no metadata; list omits Litestream's temporary files", async () => {
    const path = tempFolder("store");
    mkdirSync(join(path, "ltx/0"), { recursive: true });
    writeFileSync(join(path, "ltx/0/1-1.ltx"), "theirs");
    writeFileSync(join(path, "ltx/0/2-2.ltx.tmp"), "unfinished");
    const store = new FileStore({ path });
    expect(await keysOf(store, "")).toEqual(["ltx/0/1-1.ltx"]);
    const body = await store.get("ltx/0/1-1.ltx");
    expect([body.metadata, await text(body)]).toEqual([{}, "theirs"]);
  });

  test("put refuses the names of temporary files and sidecars", async () => {
    const store = new FileStore({ path: tempFolder("store") });
    await expectCode(store.put("a/x.tmp", textBody("x")), "storage");
    await expectCode(store.put("a/x.meta.json", textBody("x")), "storage");
    await expectCode(store.get("a/x.meta.json"), "storage");
  });

  // A link could lead a deletion out of the destination, or a listing into a cycle.
  test("list follows no links to folders", async () => {
    const path = tempFolder("store");
    const elsewhere = tempFolder("elsewhere");
    writeFileSync(join(elsewhere, "1"), "x");
    symlinkSync(elsewhere, join(path, "linked"));
    symlinkSync(join(path, "nowhere"), join(path, "dangling"));
    symlinkSync(path, join(path, "circle"));
    expect(await keysOf(new FileStore({ path }), "")).toEqual([]);
  });

  test("list gives thousands of objects of one folder in order", async () => {
    const path = tempFolder("store");
    const keys = Array.from({ length: 3_000 }, (_, n) => `ltx/0/${String(n).padStart(16, "0")}.ltx`);
    mkdirSync(join(path, "ltx/0"), { recursive: true });
    for (const key of keys.toReversed()) writeFileSync(join(path, key), "x");
    const store = new FileStore({ path });
    expect(await keysOf(store, "")).toEqual(keys);
    expect(await keysOf(store, "ltx/", keys[2_990])).toEqual(keys.slice(2_991));
  });

  test("listFolders omits folders without objects", async () => {
    const path = tempFolder("store");
    const store = new FileStore({ path });
    await store.put("a/b/1", textBody("x"));
    mkdirSync(join(path, "empty/within"), { recursive: true });
    expect(await store.listFolders("")).toEqual(["a"]);
  });

  test("FileStore url is a file URL of the path", () => {
    expect(new FileStore({ path: "/backup/of db" }).url).toBe("file:///backup/of%20db");
  });
});

describe("FileStore after a crash", () => {
  test("a sidecar without an object is ignored", async () => {
    const path = tempFolder("store");
    const store = new FileStore({ path });
    await store.put("a/1", textBody("lost"), { createOnly: true, metadata: { n: "lost" } });
    rmSync(join(path, "a/1"));
    expect(await keysOf(store, "")).toEqual([]);
    await expectCode(store.head("a/1"), "not-found");
    await store.put("a/1", textBody("found"), { createOnly: true, metadata: { n: "found" } });
    const body = await store.get("a/1");
    expect([body.metadata, await text(body)]).toEqual([{ n: "found" }, "found"]);
  });

  test("a sidecar beside another program's object is ignored", async () => {
    const path = tempFolder("store");
    const store = new FileStore({ path });
    await store.put("a/1", textBody("ours"), { metadata: { n: "ours" } });
    writeFileSync(join(path, "a/1"), "theirs, longer");
    expect((await store.head("a/1")).metadata).toEqual({});
  });

  test("an overwrite cut off before or after the replacement never mixes metadata and bytes", async () => {
    const path = tempFolder("store");
    const store = new FileStore({ path });
    await store.put("m", textBody("old"), { metadata: { n: "old" } });
    const sidecarPath = join(path, "m.meta.json");
    const old = JSON.parse(readFileSync(sidecarPath, "utf8"));
    await store.put("m", textBody("new"), { metadata: { n: "new" } });
    const current = JSON.parse(readFileSync(sidecarPath, "utf8"));
    for (const previous of [old, null]) {
      writeFileSync(sidecarPath, JSON.stringify({ ...current, previous }));
      writeFileSync(join(path, "m"), "new");
      expect((await store.head("m")).metadata).toEqual({ n: "new" });
      writeFileSync(join(path, "m"), "old");
      expect((await store.head("m")).metadata).toEqual(previous === null ? {} : { n: "old" });
      writeFileSync(join(path, "m"), "???");
      expect((await store.head("m")).metadata).toEqual({});
    }
    writeFileSync(join(path, "m"), "old");
    await store.put("m", textBody("third"), { metadata: { n: "third" } });
    expect((await store.head("m")).metadata).toEqual({ n: "third" });
  });

  test("a damaged sidecar is an integrity error, not missing metadata", async () => {
    const path = tempFolder("store");
    const store = new FileStore({ path });
    await store.put("a", textBody("x"), { metadata: { n: "1" } });
    const whole = readFileSync(join(path, "a.meta.json"), "utf8");
    for (const damage of ["", whole.slice(0, -5), "null", "[]", '{"version":1,"sizeBytes":"1"}']) {
      writeFileSync(join(path, "a.meta.json"), damage);
      await expectCode(store.head("a"), "integrity");
    }
    const wrongType = { ...JSON.parse(whole), metadata: { n: 1 } };
    writeFileSync(join(path, "a.meta.json"), JSON.stringify(wrongType));
    await expectCode(store.head("a"), "integrity");
  });

  test("delete removes temporary files older than a day, and no younger ones", async () => {
    const path = tempFolder("store");
    mkdirSync(join(path, "a"));
    const names = [".0123456789abcdef.tmp", "x.ltx.tmp"];
    for (const name of names) writeFileSync(join(path, "a", name), "left");
    utimesSync(join(path, "a", names[0]!), 1, 1);
    let nowMs = Date.now();
    const store = new FileStore({ path, env: { ...systemEnv(SILENT_LOG), nowMs: () => nowMs } });
    await store.delete(["a/none"]);
    expect(readdirSync(join(path, "a")).sort()).toEqual(names);
    nowMs += 25 * 3600 * 1000;
    await store.delete(["a/none"]);
    expect(readdirSync(join(path, "a"))).toEqual(["x.ltx.tmp"]);
  });
});

describe("FileStore beside other processes", () => {
  test("concurrent create-only puts of several processes: each key has one winner, whole", async () => {
    const path = tempFolder("store");
    const source = `
      import { FileStore } from ${JSON.stringify(FILE_STORE)};
      const store = new FileStore({ path: ${JSON.stringify(path)} });
      const n = process.argv[2];
      await Bun.stdin.text();
      let wins = 0;
      for (let key = 0; key < 25; key++) {
        const body = { kind: "bytes", bytes: new TextEncoder().encode(n.repeat(1000 + key)) };
        try { await store.put("a/" + key, body, { createOnly: true, metadata: { n } }); wins++; }
        catch (error) { if (error.code !== "precondition") throw error; }
      }
      console.log(wins);
    `;
    const script = join(tempFolder("script"), "put.ts");
    writeFileSync(script, source);
    const writers = ["1", "2", "3"].map((n) =>
      Bun.spawn([process.execPath, script, n], { stdin: "pipe", stdout: "pipe", stderr: "inherit" }),
    );
    for (const writer of writers) writer.stdin.end();
    const wins = await Promise.all(writers.map(async (writer) => Number(await writer.stdout.text())));
    expect(wins.reduce((a, b) => a + b)).toBe(25);
    const store = new FileStore({ path });
    for (let key = 0; key < 25; key++) {
      const body = await store.get(`a/${key}`);
      expect(await text(body)).toBe(body.metadata["n"]!.repeat(1000 + key));
    }
    expect(readdirSync(join(path, "a")).length).toBe(50);
  }, 20_000);

  test("head during overwrites never pairs metadata with other bytes", async () => {
    const store = new FileStore({ path: tempFolder("store") });
    await store.put("m", textBody("0000"), { metadata: { n: "0000" } });
    let isDone = false;
    const writing = (async () => {
      for (let n = 1; n < 25; n++) {
        const content = String(n).padStart(4, "0");
        await store.put("m", textBody(content), { metadata: { n: content } });
      }
      isDone = true;
    })();
    let readCount = 0;
    while (!isDone) {
      const body = await store.get("m");
      expect(body.metadata["n"]).toBe(await text(body));
      readCount++;
    }
    await writing;
    expect(readCount).toBeGreaterThan(2);
  }, 20_000);

  test("get of a large object that is replaced before it is read fails instead of mixing two", async () => {
    const path = tempFolder("store");
    const store = new FileStore({ path });
    const large = { kind: "bytes", bytes: new Uint8Array(300_000) } as const;
    await store.put("big", large, { createOnly: true });
    const body = await store.get("big");
    await store.put("big", large);
    await expectCode(body.bytes(), "storage");
  });
});

describe("FileStore errors", () => {
  test.skipIf(process.getuid?.() === 0)(
    "put without permission names the folder and what to do",
    async () => {
      const path = tempFolder("store");
      chmodSync(path, 0o500);
      const store = new FileStore({ path });
      const error = await store.put("a", textBody("x")).catch((caught) => caught);
      expect([error.code, error.retryable, error.message.includes(path)]).toEqual(["storage", false, true]);
      expect(error.hint).toContain("permission");
      chmodSync(path, 0o700);
    },
  );

  test("put below a file reports that a part of the path is a file", async () => {
    const store = new FileStore({ path: tempFolder("store") });
    await store.put("a", textBody("x"));
    const error = await store.put("a/b", textBody("x")).catch((caught) => caught);
    expect([error.code, error.hint]).toEqual(["storage", "A part of the path is a file, not a directory."]);
  });

  test("put of a name too long for the file system leaves no file", async () => {
    const path = tempFolder("store");
    const error = await new FileStore({ path }).put("x".repeat(300), textBody("x")).catch((caught) => caught);
    expect([error.code, error.context.systemCode]).toEqual(["storage", "ENAMETOOLONG"]);
    expect(readdirSync(path)).toEqual([]);
  });

  test("put of bytes with another SHA-256 than given is an integrity error", async () => {
    const path = tempFolder("store");
    const store = new FileStore({ path });
    await expectCode(store.put("a", textBody("x"), { sha256: "00".repeat(32) }), "integrity");
    expect(readdirSync(path)).toEqual([]);
  });

  test("fileError distinguishes a full disk, which may be retried, from a lack of permission", () => {
    const full = fileError("write", "/x", Object.assign(new Error("no space"), { code: "ENOSPC" }));
    expect([full.code, full.retryable, full.hint]).toEqual([
      "storage",
      true,
      "The disk of the destination is full: free some space.",
    ]);
    const denied = fileError("write", "/x", Object.assign(new Error("denied"), { code: "EACCES" }));
    expect([denied.code, denied.retryable]).toEqual(["storage", false]);
  });
});
