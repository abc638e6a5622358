/** Bun's executables: a checksum for each platform, and none but these bytes. */
import { expect, test } from "bun:test";
import packageJson from "../../../package.json";
import { checkIntegrity, RUNTIME_VERSION } from "../../../scripts/package/runtimes.ts";
import { TARGETS } from "../../../scripts/package/targets.ts";

test("the runtimes have the version of Bun that package.json pins", () => {
  expect(`bun@${RUNTIME_VERSION}`).toBe(packageJson.packageManager);
});

test.each(TARGETS.map((target) => target.runtime))(
  "checkIntegrity knows %s, and refuses other bytes",
  (name) => {
    expect(() => checkIntegrity(name, new TextEncoder().encode("no tarball"))).toThrow(
      /^@oven\/bun-\S+ has the checksum sha512-\S{88}, expected sha512-\S{88}$/,
    );
  },
);

test("checkIntegrity refuses a package without a checksum", () => {
  expect(() => checkIntegrity("@oven/bun-plan9", new Uint8Array())).toThrow("expected undefined");
});
