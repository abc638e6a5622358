/** The flags of push replicas, and the folder that stands for a bucket without one. */
import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pushPeersOf, pushReplicasOrNull, withPushBucket } from "../../../src/commands/push/push-options.ts";
import { optionsOf } from "../../../src/commands/shared/verb.ts";
import { watchVerb } from "../../../src/commands/watch.ts";
import { resolveConfig } from "../../../src/config/config.ts";
import { parseWords } from "../../../src/config/settings/parse-options.ts";
import { WalrustError } from "../../../src/errors.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

function invocationOf(...given: string[]) {
  const words = parseWords(given, optionsOf(watchVerb));
  const { signal } = new AbortController();
  return {
    ...{ words, sources: { words, environment: { HOME: "/home/app" }, file: null } },
    ...{ isJson: false, env: recordingEnv().env, signal, version: "test", date: "2026-01-01", verbs: [] },
    signals: { takeOver: () => () => {} },
  };
}

function replicasOf(...given: string[]) {
  const invocation = invocationOf(...given);
  return pushReplicasOrNull(pushPeersOf(invocation), new MemoryStore(), invocation, () => {});
}

describe("pushPeersOf and pushReplicasOrNull", () => {
  test("makes one replica for each URL", async () => {
    expect(replicasOf("app.db")).toBeNull();
    const replicas = replicasOf(
      "--push-to",
      "http://a:1",
      "--push-to=http://b:2",
      "--push-to",
      "http://a:1/",
    );
    expect(replicas?.statusOf("app")).toEqual([]);
    await replicas?.close();
  });

  const token = join(tempFolder("push-token"), "token");
  writeFileSync(token, "short");
  const REFUSED: readonly (readonly [words: readonly string[], code: string, said: string])[] = [
    [["--push-to", "b"], "usage", "--push-to"],
    [["--push-to", "http://a", "--push-to", "http://a/x"], "usage", "--push-to"],
    [["--ack"], "usage", "There is no push replica"],
    [["--push-token-file", token], "usage", "There is no push replica"],
    [["--push-to", "http://a", "--push-token-file", token], "config", "cannot be used"],
    [["--push-to", "http://a", "--push-ca-file", token], "config", "certificate"],
  ];
  test.each(REFUSED)("refuses %p", (words, code, said) => {
    let failure: unknown = null;
    try {
      replicasOf(...words);
    } catch (error) {
      failure = error;
    }
    expect(failure).toBeInstanceOf(WalrustError);
    expect(failure).toMatchObject({ code });
    expect((failure as WalrustError).message).toContain(said);
  });
});

describe("withPushBucket", () => {
  test("gives a watch without a bucket a folder of the state home, and keeps two snapshots", () => {
    const { sources } = withPushBucket(invocationOf("--push-to", "http://a", "--state-dir", "/srv/state"));
    const { s3, sync, retention } = resolveConfig(sources);
    expect(s3.bucket).toBe("file:///srv/state/push-bucket");
    expect(sync.compactAfterSnapshot).toBe(true);
    expect(retention).toEqual({ hourly: 0, daily: 0, weekly: 0, monthly: 0 });
  });

  test("leaves a given retention as it is", () => {
    const words = ["--push-to", "http://a", "--state-dir", "/srv/state", "--retain-daily", "3"];
    const { sync, retention } = resolveConfig(withPushBucket(invocationOf(...words)).sources);
    expect([sync.compactAfterSnapshot, retention.daily, retention.hourly]).toEqual([false, 3, 24]);
  });

  test.each([[["-b", "s3://bucket", "--push-to", "http://a"]], [["app.db"]]])(
    "changes nothing for %p",
    (words) => {
      const invocation = invocationOf(...words);
      expect(withPushBucket(invocation)).toBe(invocation);
    },
  );
});
