/**
 * A taken key: walrust adopts the bucket's history if the object is its own, and stops the database if
 * another process wrote the object.
 */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { WalrustError } from "../../../src/errors.ts";
import { hex } from "../../../src/format/chain.ts";
import type { SpoolFile } from "../../../src/local/spool.ts";
import type { LiveDatabase } from "../../../src/replication/capture/live-database.ts";
import { publish } from "../../../src/replication/upload/publish.ts";
import { mergeNow, planMerge } from "../../../src/replication/upload/spool-merge.ts";
import { UploadHistory } from "../../../src/replication/upload/upload-history.ts";
import {
  type UploadLane,
  type UploadOutcome,
  uploadPending,
} from "../../../src/replication/upload/uploader.ts";
import { keyOf } from "../../../src/storage/bucket/catalog.ts";
import { spooledHistory } from "../../support/histories/spooled-history.ts";
import { TINY_WRITER } from "../../support/histories/tiny-history.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { FaultyStore, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const OTHER_WRITER = "f".repeat(32);

/** The uploads of one process. */
class Uploads {
  readonly store = new FaultyStore(new MemoryStore());
  readonly history = new UploadHistory();

  /** @returns the outcome, or the error */
  async run(live: LiveDatabase, lane: UploadLane = "links"): Promise<UploadOutcome | WalrustError> {
    const context = {
      store: this.store,
      version: "test",
      env: recordingEnv().env,
      emit() {},
      keepsSent: false,
    };
    const signal = new AbortController().signal;
    return uploadPending(live, { ...context, history: this.history }, signal, lane).catch((error) => {
      if (error instanceof WalrustError) return error;
      throw error;
    });
  }

  /** Another process puts its file. */
  async putByOther(file: SpoolFile, writer: string): Promise<void> {
    const publisher = { store: this.store.inner, name: "app", writer, version: "test" };
    expect((await publish(publisher, file)).kind).toBe("published");
  }
}

/** Two histories that differ from TXID 1 on. The second one's TXIDs from `from` on are pending. */
function rivals(from: number): { theirs: SpoolFile[]; live: LiveDatabase } {
  const theirs = spooledHistory(3).live.pending;
  const { live } = spooledHistory(4);
  live.pending.splice(0, from - 1);
  return { theirs, live };
}

function codeOf(outcome: UploadOutcome | WalrustError): string {
  return outcome instanceof WalrustError ? outcome.code : outcome.kind;
}

describe("uploadPending where a key is taken under our writer id", () => {
  test("uploadPending adopts once before anything was acknowledged, and stops the second time", async () => {
    const uploads = new Uploads();
    const { theirs, live } = rivals(2);
    await uploads.putByOther(theirs[1]!, TINY_WRITER);
    expect(await uploads.run(live)).toMatchObject({ kind: "adopt" });
    expect(codeOf(await uploads.run(live))).toBe("foreign-writer");
  });

  test("uploadPending stops after an upload, logs why, and leaves a mark", async () => {
    const uploads = new Uploads();
    const { theirs, live } = rivals(2);
    await uploads.putByOther(theirs[2]!, TINY_WRITER);
    const error = (await uploads.run(live)) as WalrustError;
    expect([error.code, error.exitCode]).toEqual(["foreign-writer", 4]);
    expect(error.message).toContain("another process that has a copy of our local state");
    expect(error.hint).toContain(`remove ${live.paths.folder} and start again`);
    const mark = JSON.parse(readFileSync(join(live.paths.folder, "foreign-writer.json"), "utf8"));
    expect(mark).toMatchObject({ writer: TINY_WRITER, otherWriter: TINY_WRITER, txid: 3 });
  });

  test("uploadPending accepts the same bytes as a retry", async () => {
    const uploads = new Uploads();
    const { live } = rivals(2);
    await uploads.putByOther(live.pending[1]!, OTHER_WRITER);
    expect(codeOf(await uploads.run(live))).toBe("drained");
    expect(live.acknowledged?.txid).toBe(4 as never);
  });

  test.each([TINY_WRITER, OTHER_WRITER])(
    "uploadPending recognizes its own put whose answer was lost, under writer %s",
    async (writer) => {
      const uploads = new Uploads();
      const { theirs, live } = rivals(2);
      const own = live.pending.splice(1);
      expect(codeOf(await uploads.run(live))).toBe("drained");
      // The connection breaks during the put, which takes effect later, after TXID 3 was captured anew.
      uploads.store.before = () => {
        throw unreachable();
      };
      live.pending.push(theirs[2]!);
      expect(codeOf(await uploads.run(live))).toBe("storage");
      uploads.store.before = () => {};
      await uploads.putByOther(theirs[2]!, writer);
      live.pending.splice(0, 1, ...own);
      expect(await uploads.run(live)).toMatchObject({ kind: "adopt" });
      expect(existsSync(join(live.paths.folder, "foreign-writer.json"))).toBe(false);
    },
  );
});

describe("uploadPending where a key is taken by another writer", () => {
  test("uploadPending stops at once, names the writer, and leaves a mark", async () => {
    const uploads = new Uploads();
    const { theirs, live } = rivals(2);
    await uploads.putByOther(theirs[1]!, OTHER_WRITER);
    const error = (await uploads.run(live)) as WalrustError;
    expect(error.code).toBe("foreign-writer");
    const key = keyOf(uploads.store, "app", theirs[1]!);
    const who = `another writer (${OTHER_WRITER}); our id is ${TINY_WRITER}`;
    expect(error.message).toBe(`${key} was written by ${who}`);
    expect(error.hint).toContain("whose state folder was deleted");
    expect(existsSync(join(live.paths.folder, "foreign-writer.json"))).toBe(true);
  });
});

describe("uploadPending of a later snapshot whose key is taken", () => {
  /** A snapshot at TXID 2 and the object at its key. */
  async function taken(writer: string, chain: "same" | "other"): Promise<string> {
    const uploads = new Uploads();
    const { live } = spooledHistory(2, [2]);
    expect(codeOf(await uploads.run(live))).toBe("drained");
    const snapshot = live.pending[0]!;
    const metadata = {
      "walrust-writer": writer,
      sha256: "0".repeat(64),
      chain: chain === "same" ? hex(snapshot.chain) : "1".repeat(64),
    };
    const key = keyOf(uploads.store, "app", snapshot);
    await uploads.store.inner.put(key, { kind: "bytes", bytes: Buffer.from("theirs") }, { metadata });
    return codeOf(await uploads.run(live, "snapshots"));
  }

  test("uploadPending accepts one of the same state as its own, whoever wrote it", async () => {
    expect([await taken(TINY_WRITER, "same"), await taken(OTHER_WRITER, "same")]).toEqual([
      "drained",
      "drained",
    ]);
  });

  test("uploadPending adopts one of another state under our id, and stops at another writer's", async () => {
    expect([await taken(TINY_WRITER, "other"), await taken(OTHER_WRITER, "other")]).toEqual([
      "adopt",
      "foreign-writer",
    ]);
  });
});

describe("uploadPending of captures that were merged while pending", () => {
  test("uploadPending stops for another writer's object that the merged one spans", async () => {
    const uploads = new Uploads();
    const { theirs, live } = rivals(2);
    await uploads.putByOther(theirs[2]!, OTHER_WRITER);
    expect(mergeNow(live, planMerge(live, 1)!)).toBeGreaterThan(0);
    expect(live.pending.map(({ minTxid, maxTxid }) => [minTxid, maxTxid])).toEqual([[2, 4]] as never);
    const outcome = await uploads.run(live);
    expect(codeOf(outcome)).toBe("foreign-writer");
    expect((outcome as WalrustError).message).toContain(OTHER_WRITER);
  });

  test("uploadPending continues when a merged object stands alone", async () => {
    const uploads = new Uploads();
    const { live } = rivals(1);
    expect(codeOf(await uploads.run({ ...live, pending: live.pending.splice(0, 1) }))).toBe("drained");
    mergeNow(live, planMerge(live, 1)!);
    expect([codeOf(await uploads.run(live)), live.pending]).toEqual(["drained", []]);
  });
});
