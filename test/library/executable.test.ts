/** The program that a child runs, and the places where there is none. */
import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import packageJson from "../../package.json";
import { findExecutable } from "../../src/library/executable.ts";
import { failureOf } from "../support/failure-of.ts";
import { tempFolder } from "../support/temp.ts";

/** @param words those of `findExecutable` */
const failure = (...words: Parameters<typeof findExecutable>) =>
  failureOf((async () => findExecutable(...words))());

test("findExecutable takes this package and the running Bun, without files of the application", () => {
  const main = join(import.meta.dir, "../../src/main.ts");
  const version = `--define=WALRUST_VERSION="${packageJson.version}"`;
  expect(findExecutable(undefined)).toEqual([
    process.execPath,
    "--no-env-file",
    "--config=/dev/null",
    version,
    main,
  ]);
});

test("findExecutable takes a given executable as it is", () => {
  expect(findExecutable("/usr/local/bin/walrust", "/$bunfs/root")).toEqual(["/usr/local/bin/walrust"]);
});

test("findExecutable demands an executable inside a compiled application", async () => {
  const error = await failure(undefined, "/$bunfs/root/src/library", "/opt/app");
  expect(error.code).toBe("usage");
  expect(error.message).toBe("Cannot find walrust from within a compiled application");
  expect(error.hint).toContain("executable");
});

test("findExecutable never takes the application's own main.ts for walrust", async () => {
  const app = tempFolder("app");
  mkdirSync(join(app, "src", "dist"), { recursive: true });
  writeFileSync(join(app, "src", "main.ts"), "");
  for (const manifest of ['{"name":"app"}', "no JSON"]) {
    writeFileSync(join(app, "package.json"), manifest);
    const error = await failure(undefined, join(app, "src", "dist"));
    expect(error).toMatchObject({ code: "usage", message: "Cannot find walrust from within a bundle" });
  }
});
