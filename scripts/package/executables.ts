/**
 * The executables that go into packages: built for each platform from the same sources and the same order of
 * the bytecode, then checked. An executable that this machine can run must print the version in package.json.
 */
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { build } from "../build.ts";
import { capture, ROOT } from "../toolchain.ts";
import { isSignatureValid, signAdHoc } from "./mach-o.ts";
import type { Executable } from "./package-kind.ts";
import { runtimeOf } from "./runtimes.ts";
import { nativeTarget, type Target } from "./targets.ts";

/**
 * The order in which a watch uses the bytecode. `record-order.ts` writes it, because two recordings differ,
 * and packages must not.
 */
export const ORDER = join(import.meta.dir, "bytecode.order.gz");

/** Builds the executable of each platform. @throws Error when a build fails */
export async function buildExecutables(targets: readonly Target[]): Promise<Executable[]> {
  const order = { file: join(ROOT, "dist", "bytecode.order") };
  await Bun.write(order.file, gunzipSync(await Bun.file(ORDER).bytes()));
  const executables: Executable[] = [];
  for (const target of targets) {
    const path = join(ROOT, "dist", "executables", target.name, "walrust");
    console.error(`Building ${target.name}`);
    await build({ outfile: path, target: target.bun, runtime: await runtimeOf(target), order });
    if (target.os === "darwin") await ensureSignature(path);
    executables.push({ target, path });
  }
  return executables;
}

/** Signs a macOS executable whose signature does not fit the content. */
async function ensureSignature(path: string): Promise<void> {
  const bytes = await Bun.file(path).bytes();
  if (isSignatureValid(bytes)) return;
  await Bun.write(path, signAdHoc(bytes, "walrust"));
}

/**
 * Compares the version of this machine's executable with the one of the packages. Executables of other
 * platforms come from the same build, which defines their version from the same package.json.
 * @throws Error when the executable does not run or has another version
 */
export async function checkVersion(executables: readonly Executable[], version: string): Promise<void> {
  const native = nativeTarget();
  for (const { target, path } of executables) {
    if (target !== native) continue;
    const { exitCode, stdout, stderr } = await capture([path, "--version", "--json"]);
    if (exitCode !== 0) throw new Error(`${path} --version ended with exit code ${exitCode}\n${stderr}`);
    const own = (JSON.parse(stdout) as { walrust?: unknown }).walrust;
    if (own === version) continue;
    throw new Error(`${path} is walrust ${own}, and package.json has the version ${version}`);
  }
}
