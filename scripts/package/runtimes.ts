/**
 * Bun's executables for all platforms, from the npm registry at the version that package.json pins. npm
 * compares each download with the checksum that this file names, so that nothing but these bytes gets into a
 * package. `dist/runtimes` keeps the executables.
 */
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { capture, ROOT } from "../toolchain.ts";
import type { Target } from "./targets.ts";

/** The version of the checksums below. */
export const RUNTIME_VERSION = "1.4.5";

/** The checksum of each package's tarball, as `npm view NAME dist.integrity` prints it. */
const INTEGRITY: Readonly<Record<string, string>> = {
  "@oven/bun-linux-x64":
    "sha512-IWX9BELoGHAUtMonkeSaNaZwXzRk+oDw6Mk+HBFXd3KHYIBNBsIGRupMZPcgNoDbJpLu6gAJjIoIVPZtt1aJ1g==",
  "@oven/bun-linux-x64-musl":
    "sha512-10QoW/YfTgnURaGEaHpJCiXjLI2e5iTtfVDaA5JKcyUzaa1cq6cVUY9/Uq5XkYzvtRjHLRe9Oj/lTDIQcxy8HQ==",
  "@oven/bun-linux-aarch64":
    "sha512-4BXmsSKnjOrlGWqZV4x/oWa7AVoR+B6lCXddMzOAXBIm3t50eslg9wb66gmtW1AamEQ1l1CDvmmruysEhqOWMg==",
  "@oven/bun-linux-aarch64-musl":
    "sha512-XCNc+WvvMAdNNb+OWTogpy+N9wm62fkVeEVLb6how0RZhW5LPi6c7BlkeVCuWps7XjEl2saFpHFa20/1E+PAHg==",
  "@oven/bun-darwin-x64":
    "sha512-qkLPMGHZM9NI6CeHTWwVezzmlo6cC4Ta7yUAjYIWXS366qQcOlcp75t2uZyiuVRBMPS0h9qE0tCcvCHGaFqjJg==",
  "@oven/bun-darwin-aarch64":
    "sha512-4MIFXHmctH2EhAxLXm2/qxNtv17dFtLJylvaOCsrgq6KSqHTs6eW5YSrJjRbJxYUJaR901fsN8JfZOa+CsWpWQ==",
};

/**
 * The path of Bun's executable for a platform; downloads it if necessary.
 * @throws Error when this Bun is not of the pinned version, and when the download fails or differs
 */
export async function runtimeOf(target: Target, kept = join(ROOT, "dist", "runtimes")): Promise<string> {
  if (Bun.version !== RUNTIME_VERSION) {
    throw new Error(`This is Bun ${Bun.version}, and packages contain Bun ${RUNTIME_VERSION}`);
  }
  const path = join(kept, `${target.bun}-${RUNTIME_VERSION}`);
  if (existsSync(path)) return path;
  await mkdir(kept, { recursive: true });
  const folder = await mkdtemp(join(kept, ".download-"));
  try {
    const id = `${target.runtime}@${RUNTIME_VERSION}`;
    const download = await capture(["npm", "pack", id, "--silent", `--pack-destination=${folder}`]);
    if (download.exitCode !== 0)
      throw new Error(`npm pack ${id} failed:\n${download.stderr}${download.stdout}`);
    const [name = ""] = await readdir(folder);
    const archive = await Bun.file(join(folder, name)).bytes();
    checkIntegrity(target.runtime, archive);
    const file = await new Bun.Archive(archive).files("package/bin/bun");
    const executable = file.get("package/bin/bun");
    if (executable === undefined) throw new Error(`${id} has no bin/bun`);
    await Bun.write(join(folder, "bun"), executable);
    await chmod(join(folder, "bun"), 0o755);
    await rename(join(folder, "bun"), path);
    return path;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Compares a tarball with its checksum. @throws Error when they differ, or when there is no checksum */
export function checkIntegrity(runtime: string, archive: Uint8Array): void {
  const digest = `sha512-${new Bun.CryptoHasher("sha512").update(archive).digest("base64")}`;
  if (digest === INTEGRITY[runtime]) return;
  throw new Error(`${runtime}@${RUNTIME_VERSION} has the checksum ${digest}, expected ${INTEGRITY[runtime]}`);
}
