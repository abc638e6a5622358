/** The table of platforms: names that no two platforms share, and the platform of this machine. */
import { expect, test } from "bun:test";
import { nativeTarget, TARGETS, targetsNamed } from "../../../scripts/package/targets.ts";

test("TARGETS names each platform once in every format", () => {
  for (const key of ["name", "bun", "runtime", "wheel", "deb", "rpm"] as const) {
    const names = TARGETS.map((target) => target[key]).filter((name) => name !== null);
    expect(new Set(names).size).toBe(names.length);
  }
});

test("nativeTarget is a platform with this machine's system and processor", () => {
  const { os, cpu, libc } = nativeTarget();
  expect([os, cpu] as string[]).toEqual([process.platform, process.arch]);
  // The libc of this machine, as ldd names its own.
  const ldd = Bun.spawnSync(["ldd", "--version"]);
  const named = /musl/.test(`${ldd.stdout}${ldd.stderr}`) ? "musl" : "glibc";
  if (os === "linux") expect(libc).toBe(named);
});

test("targetsNamed gives all targets without names, and refuses an unknown name", () => {
  expect(targetsNamed([])).toEqual([...TARGETS]);
  expect(targetsNamed(["linux-arm64", "linux-arm64"]).map(({ name }) => name)).toEqual(["linux-arm64"]);
  expect(() => targetsNamed(["linux-x65"])).toThrow("Unknown target linux-x65, expected one of linux-x64, ");
});
