/**
 * The platforms that walrust is packaged for, and their names in each package format: one row a platform.
 *
 * A musl executable needs the system's libstdc++ (`apk add libstdc++`); the others need only libc. The tags
 * of the wheels state the oldest system that Bun's executables ask for: glibc 2.17, macOS 13.
 */

/** One platform. */
export interface Target {
  /** Name in file names and for `--target`. */
  readonly name: string;
  readonly os: "linux" | "darwin";
  readonly cpu: "x64" | "arm64";
  /** The C library, as npm names it; null where the system has only one. */
  readonly libc: "glibc" | "musl" | null;
  /** Bun's name, for `bun build --target`. */
  readonly bun: string;
  /** The npm package with Bun's executable for this platform. */
  readonly runtime: string;
  /** Platform tag of a Python wheel. */
  readonly wheel: string;
  /** Debian's name of the architecture; null where the platform has no .deb. */
  readonly deb: string | null;
  /** RPM's name of the architecture; null where the platform has no .rpm. */
  readonly rpm: string | null;
  /** Architecture of a container image; null where the platform has none. */
  readonly image: string | null;
}

/** All platforms. */
export const TARGETS: readonly Target[] = [
  {
    name: "linux-x64",
    os: "linux",
    cpu: "x64",
    libc: "glibc",
    bun: "bun-linux-x64",
    runtime: "@oven/bun-linux-x64",
    wheel: "manylinux_2_17_x86_64.manylinux2014_x86_64",
    deb: "amd64",
    rpm: "x86_64",
    image: "amd64",
  },
  {
    name: "linux-arm64",
    os: "linux",
    cpu: "arm64",
    libc: "glibc",
    bun: "bun-linux-arm64",
    runtime: "@oven/bun-linux-aarch64",
    wheel: "manylinux_2_17_aarch64.manylinux2014_aarch64",
    deb: "arm64",
    rpm: "aarch64",
    image: "arm64",
  },
  {
    name: "linux-x64-musl",
    os: "linux",
    cpu: "x64",
    libc: "musl",
    bun: "bun-linux-x64-musl",
    runtime: "@oven/bun-linux-x64-musl",
    wheel: "musllinux_1_2_x86_64",
    deb: null,
    rpm: null,
    image: null,
  },
  {
    name: "linux-arm64-musl",
    os: "linux",
    cpu: "arm64",
    libc: "musl",
    bun: "bun-linux-arm64-musl",
    runtime: "@oven/bun-linux-aarch64-musl",
    wheel: "musllinux_1_2_aarch64",
    deb: null,
    rpm: null,
    image: null,
  },
  {
    name: "darwin-x64",
    os: "darwin",
    cpu: "x64",
    libc: null,
    bun: "bun-darwin-x64",
    runtime: "@oven/bun-darwin-x64",
    wheel: "macosx_13_0_x86_64",
    deb: null,
    rpm: null,
    image: null,
  },
  {
    name: "darwin-arm64",
    os: "darwin",
    cpu: "arm64",
    libc: null,
    bun: "bun-darwin-arm64",
    runtime: "@oven/bun-darwin-aarch64",
    wheel: "macosx_13_0_arm64",
    deb: null,
    rpm: null,
    image: null,
  },
];

/** The platforms with these names; all without names. @throws Error for an unknown name */
export function targetsNamed(names: readonly string[]): Target[] {
  return [...new Set(names.length === 0 ? TARGETS : names.map(targetNamed))];
}

function targetNamed(name: string): Target {
  const target = TARGETS.find((one) => one.name === name);
  if (target !== undefined) return target;
  throw new Error(`Unknown target ${name}, expected one of ${TARGETS.map((one) => one.name).join(", ")}`);
}

/** The platform of this machine. @throws Error if walrust is not packaged for the machine */
export function nativeTarget(): Target {
  const { platform, arch } = process;
  // Bun for glibc names the version of glibc; Bun for musl does not.
  const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
  const isMusl = platform === "linux" && report.header?.glibcVersionRuntime === undefined;
  const found = TARGETS.find(
    ({ os, cpu, libc }) => os === platform && cpu === arch && (libc === "musl") === isMusl,
  );
  if (found === undefined) throw new Error(`walrust has no package for ${platform} ${arch}`);
  return found;
}
