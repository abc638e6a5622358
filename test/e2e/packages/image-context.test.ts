/**
 * The context of the container image: the executables by architecture beside a Dockerfile whose instructions
 * name files that are there. No test builds the image, because its base comes from a registry.
 */
import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import packageJson from "../../../package.json";
import { imageContexts } from "../../../scripts/package/system/image-context.ts";
import { makePackages } from "../../support/packages/made-packages.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(120_000);

const BASE = "gcr.io/distroless/base-debian12:nonroot";

async function unpacked(): Promise<string> {
  const [path, ...others] = await makePackages(imageContexts);
  expect([path!.split("/").at(-1), others]).toEqual([`walrust-${packageJson.version}-image.tar.gz`, []]);
  const folder = join(tempFolder("image"), "context");
  mkdirSync(folder);
  expect(Bun.spawnSync(["tar", "-xzf", path!, "-C", folder]).exitCode).toBe(0);
  return folder;
}

test("the context has a Dockerfile, and every file that the Dockerfile copies", async () => {
  const folder = await unpacked();
  const text = readFileSync(join(folder, "Dockerfile"), "utf8");
  const instructions = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  expect(instructions[0]).toBe(`FROM ${BASE}`);
  const copied = instructions
    .filter((line) => line.startsWith("COPY "))
    .flatMap((line) =>
      line
        .split(" ")
        .filter((word) => word !== "COPY" && !word.startsWith("--"))
        .slice(0, -1),
    );
  expect(copied).toEqual([`$\{TARGETARCH}/walrust`, "LICENSE", "THIRD-PARTY-NOTICES.txt"]);
  for (const architecture of ["amd64", "arm64"]) {
    for (const path of copied) {
      const file = Bun.file(join(folder, path.replace(`$\{TARGETARCH}`, architecture)));
      expect(await file.exists()).toBe(true);
    }
  }
  // An array: the image has no shell.
  expect(instructions).toContain('ENTRYPOINT ["/usr/bin/walrust"]');
});
