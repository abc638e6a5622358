/**
 * The static keys of a destination: files of their own that rotate, and a configuration that is read again.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openDestination, StoreKeys } from "../../../src/commands/shared/open-destination.ts";
import { loadConfigFile } from "../../../src/config/config-file.ts";
import type { Sources } from "../../../src/config/resolve.ts";
import type { OptionSpec } from "../../../src/config/settings/option-spec.ts";
import { WATCH_GROUPS } from "../../../src/config/settings/options.ts";
import { parseWords } from "../../../src/config/settings/parse-options.ts";
import { NO_RETRY } from "../../../src/storage/contract/retry.ts";
import { keysOf } from "../../storage/contract/store-helpers.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { tempFolder } from "../../support/temp.ts";

const WORDS = parseWords(
  [],
  WATCH_GROUPS.flatMap((group): OptionSpec[] => Object.values(group)),
);

let server: S3Server;
beforeAll(async () => {
  server = await S3Server.start();
});
afterAll(() => server.stop());

/** A walrust.toml with these lines in [s3], and the files of its secrets. */
function newConfig(lines: string, files: Readonly<Record<string, string>> = {}) {
  const folder = tempFolder("keys");
  const write = (name: string, text: string): void =>
    writeFileSync(join(folder, name), text, { mode: 0o600 });
  for (const [name, text] of Object.entries(files)) write(name, text);
  write("walrust.toml", `[s3]\nbucket = "s3://bucket/vm"\nendpoint = "${server.url}"\n${lines}`);
  const environment: Sources["environment"] = {};
  const read = (): Sources => ({
    words: WORDS,
    environment,
    file: loadConfigFile(join(folder, "walrust.toml"), environment),
  });
  return { folder, write, read };
}

const FILES = 'access_key_id_file = "id"\nsecret_access_key_file = "secret"\n';

test("a request that is refused is repeated with the keys that lie in the files now", async () => {
  const { accessKeyId, secretAccessKey } = server.options;
  const { folder, write, read } = newConfig(FILES, { id: accessKeyId, secret: `${secretAccessKey}\n` });
  const { env, lines } = recordingEnv();
  const store = openDestination({ sources: read(), env }, { retry: NO_RETRY });
  expect(await keysOf(store, "")).toEqual([]);
  server.options.secretAccessKey = "rotated";
  await expect(keysOf(store, "")).rejects.toMatchObject({ code: "auth" });
  write("secret", "rotated\n");
  const both = await Promise.all([keysOf(store, ""), keysOf(store, "")]);
  expect(both).toEqual([[], []]);
  const said = lines.filter(({ message }) => message.includes("the keys of the store have changed"));
  expect(said.length).toBe(1);
  expect(JSON.stringify(lines)).not.toContain("rotated");
  // While the file is replaced, the keys stay as they are.
  rmSync(join(folder, "secret"));
  server.options.secretAccessKey = secretAccessKey;
  await expect(keysOf(store, "")).rejects.toMatchObject({ code: "auth" });
  write("secret", secretAccessKey);
  expect(await keysOf(store, "")).toEqual([]);
  await store.close();
});

test("a file that a variable names is read again, too", async () => {
  const { folder, write, read } = newConfig('access_key_id = "A"\nsecret_access_key = "S"\n', {
    id: "B",
    secret: "T",
  });
  const environment = {
    WALRUST_S3_ACCESS_KEY_ID_FILE: join(folder, "id"),
    WALRUST_S3_SECRET_ACCESS_KEY_FILE: join(folder, "secret"),
  };
  const { env } = recordingEnv();
  const keys = StoreKeys.ofOrNull({ sources: { ...read(), environment }, env })!;
  expect(keys.current).toEqual({ accessKeyId: "B", secretAccessKey: "T" });
  expect(keys.refresh()).toBe(false);
  write("secret", "U");
  expect([keys.refresh(), keys.current.secretAccessKey]).toEqual([true, "U"]);
});

test("keys in walrust.toml itself change with a reload alone", () => {
  const inline = (secret: string): string => `access_key_id = "A"\nsecret_access_key = "${secret}"\n`;
  const { write, read } = newConfig(inline("S"));
  const { env } = recordingEnv();
  const keys = StoreKeys.ofOrNull({ sources: read(), env })!;
  write("walrust.toml", `[s3]\nbucket = "s3://bucket/vm"\n${inline("T")}`);
  expect([keys.refresh(), keys.current.secretAccessKey]).toEqual([false, "S"]);
  expect([keys.replace(read()), keys.current.secretAccessKey]).toEqual([true, "T"]);
  expect(keys.replace(read())).toBe(false);
});

test("a destination whose keys the chain finds has none to replace", () => {
  const { read } = newConfig("");
  expect(StoreKeys.ofOrNull({ sources: read(), env: recordingEnv().env })).toBeNull();
});
