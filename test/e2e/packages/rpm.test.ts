/**
 * The package for Fedora and its relatives, as rpm reads it: digests, files, flags, and the executable in it.
 */
import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import packageJson from "../../../package.json";
import { rpmPackages } from "../../../scripts/package/system/rpm.ts";
import { makePackages } from "../../support/packages/made-packages.ts";
import { cleanEnvironment, collect, untilTestEnds } from "../../support/processes/binary.ts";
import { testWith } from "../../support/servers/peers.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(120_000);

const isRoot = process.geteuid?.() === 0;

async function must(...command: string[]): Promise<string> {
  const stdio = ["ignore", "pipe", "pipe"] as ["ignore", "pipe", "pipe"];
  // A home without a database of packages.
  const env = cleanEnvironment({ TZ: "UTC", HOME: tempFolder("home") });
  const child = untilTestEnds(Bun.spawn(command, { env, stdio }));
  const run = await collect(child, command.join(" "));
  if (run.exitCode !== 0) throw new Error(`${command.join(" ")}: ${run.stdout}${run.stderr}`);
  return run.stdout;
}

testWith("rpm")("rpm confirms the digests, and lists the description and the files", async () => {
  const paths = await makePackages(rpmPackages);
  const { version } = packageJson;
  expect(paths.map((path) => path.split("/").at(-1))).toEqual([
    `walrust-${version}-1.x86_64.rpm`,
    `walrust-${version}-1.aarch64.rpm`,
  ]);
  for (const path of paths) {
    expect(await must("rpm", "-K", path)).toBe(`${path}: digests OK\n`);
    expect(await must("rpm", "-Kv", path)).not.toMatch(/BAD|NOT ?OK/);
  }
  const [path] = paths as [string];
  const format = "%{NAME} %{VERSION} %{RELEASE} %{ARCH} %{OS} %{LICENSE} %{BUILDTIME}";
  expect(await must("rpm", "-qp", "--qf", format, path)).toBe(
    `walrust ${version} 1 x86_64 linux ${packageJson.license} 1700000000`,
  );
  const rows = (
    await must("rpm", "-qp", "--qf", "[%{FILEMODES:perms} %{FILEUSERNAME} %{FILENAMES}\\n]", path)
  )
    .trimEnd()
    .split("\n");
  expect(rows).toEqual([
    "drwxr-xr-x root /etc/walrust",
    "-rw-r--r-- root /etc/walrust/walrust.toml",
    "-rwxr-xr-x root /usr/bin/walrust",
    "-rw-r--r-- root /usr/lib/systemd/system/walrust.service",
    "-rw-r--r-- root /usr/share/bash-completion/completions/walrust",
    "drwxr-xr-x root /usr/share/doc/walrust",
    "-rw-r--r-- root /usr/share/doc/walrust/README.md",
    "-rw-r--r-- root /usr/share/fish/vendor_completions.d/walrust.fish",
    "drwxr-xr-x root /usr/share/licenses/walrust",
    "-rw-r--r-- root /usr/share/licenses/walrust/LICENSE",
    "-rw-r--r-- root /usr/share/licenses/walrust/THIRD-PARTY-NOTICES.txt",
    "-rw-r--r-- root /usr/share/man/man1/walrust.1.gz",
    "-rw-r--r-- root /usr/share/zsh/site-functions/_walrust",
  ]);
  expect(await must("rpm", "-qpl", path)).toBe(`${rows.map((row) => row.split(" ")[2]).join("\n")}\n`);
  expect(await must("rpm", "-qpc", path)).toBe("/etc/walrust/walrust.toml\n");
  expect(await must("rpm", "-qpd", path)).toContain("/usr/share/man/man1/walrust.1.gz\n");
  expect(await must("rpm", "-qp", "--requires", path)).toContain("libc.so.6()(64bit)\n");
  for (const script of ["POSTIN", "PREUN"]) {
    await must("sh", "-nc", await must("rpm", "-qp", "--qf", `%{${script}}`, path));
  }
});

testWith("rpm").skipIf(!isRoot)(
  "rpm installs the package in a root of its own, keeps changes, and removes it",
  async () => {
    const [path] = (await makePackages(rpmPackages)) as [string];
    const root = tempFolder("rpm-root");
    mkdirSync(join(root, "var/lib/rpm"), { recursive: true });
    const rpm = (...words: string[]) =>
      must("rpm", "--root", root, "--dbpath", "/var/lib/rpm", "--nodeps", "--noscripts", ...words);
    await rpm("--install", path);
    const shown = await must(join(root, "usr/bin/walrust"), "--version");
    expect(shown).toStartWith(`walrust ${packageJson.version} (`);
    expect(await rpm("--verify", "walrust")).toBe("");
    const config = join(root, "etc/walrust/walrust.toml");
    await Bun.write(config, "# mine\n");
    await rpm("--upgrade", "--replacepkgs", path);
    expect(readFileSync(config, "utf8")).toBe("# mine\n");
    await rpm("--erase", "walrust");
    expect(existsSync(join(root, "usr/bin/walrust"))).toBe(false);
    expect(existsSync(join(root, "usr/share/licenses/walrust"))).toBe(false);
  },
);

test("two runs make the same bytes", async () => {
  const [first, second] = [await makePackages(rpmPackages), await makePackages(rpmPackages)];
  for (const [index, path] of first.entries()) {
    expect(readFileSync(second[index]!).equals(readFileSync(path))).toBe(true);
  }
});
