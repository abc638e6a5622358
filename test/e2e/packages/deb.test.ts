/**
 * The package for Debian, as dpkg reads it: files, modes, control data, scripts, and the executable in it.
 */
import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import packageJson from "../../../package.json";
import { debPackages } from "../../../scripts/package/system/deb.ts";
import { makePackages } from "../../support/packages/made-packages.ts";
import { cleanEnvironment, collect, untilTestEnds } from "../../support/processes/binary.ts";
import { peerPath, testWith } from "../../support/servers/peers.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(120_000);

const isRoot = process.geteuid?.() === 0;

async function must(command: readonly string[], cwd = tempFolder("cwd")): Promise<string> {
  const stdio = ["ignore", "pipe", "pipe"] as ["ignore", "pipe", "pipe"];
  const child = untilTestEnds(Bun.spawn([...command], { cwd, env: cleanEnvironment({ TZ: "UTC" }), stdio }));
  const run = await collect(child, command.join(" "));
  if (run.exitCode !== 0 || run.stderr !== "") throw new Error(`${command.join(" ")}: ${run.stderr}`);
  return run.stdout;
}

testWith("dpkg-deb")("dpkg lists and unpacks the package, and its executable runs", async () => {
  const [amd64, arm64, ...others] = await makePackages(debPackages);
  expect(others).toEqual([]);
  const { version } = packageJson;
  expect([amd64, arm64].map((path) => path!.split("/").at(-1))).toEqual([
    `walrust_${version}_amd64.deb`,
    `walrust_${version}_arm64.deb`,
  ]);
  const dpkg = peerPath("dpkg-deb");
  const fields = await must([dpkg, "--field", amd64!, "Package", "Version", "Architecture", "Depends"]);
  expect(fields.trimEnd().split("\n")).toEqual([
    "Package: walrust",
    `Version: ${version}`,
    "Architecture: amd64",
    "Depends: libc6 (>= 2.17)",
  ]);
  expect(await must([dpkg, "--field", arm64!, "Architecture"])).toBe("arm64\n");

  const rows = (await must([dpkg, "--contents", amd64!])).trimEnd().split("\n");
  const listed = new Map(rows.map((row) => [row.split(/\s+/).slice(5).join(" "), row] as const));
  for (const path of ["./", "./usr/", "./usr/bin/", "./etc/walrust/"]) {
    expect(listed.get(path)).toStartWith("drwxr-xr-x 0/0 ");
  }
  expect(listed.get("./usr/bin/walrust")).toStartWith("-rwxr-xr-x 0/0 ");
  for (const path of [
    "./etc/walrust/walrust.toml",
    "./usr/lib/systemd/system/walrust.service",
    "./usr/share/bash-completion/completions/walrust",
    "./usr/share/doc/walrust/THIRD-PARTY-NOTICES.txt.gz",
    "./usr/share/doc/walrust/changelog.gz",
    "./usr/share/doc/walrust/copyright",
    "./usr/share/fish/vendor_completions.d/walrust.fish",
    "./usr/share/man/man1/walrust.1.gz",
    "./usr/share/zsh/vendor-completions/_walrust",
  ]) {
    expect([path, listed.get(path)]).toEqual([
      path,
      expect.stringMatching(/^-rw-r--r-- 0\/0 .* 2023-11-14 /),
    ]);
  }

  const folder = tempFolder("deb");
  await must([dpkg, "--extract", amd64!, join(folder, "data")]);
  await must([dpkg, "--control", amd64!, join(folder, "control")]);
  const shown = await must([join(folder, "data/usr/bin/walrust"), "--version"]);
  expect(shown).toStartWith(`walrust ${version} (`);
  const page = gunzipSync(readFileSync(join(folder, "data/usr/share/man/man1/walrust.1.gz"))).toString();
  expect(page).toContain('.TH "WALRUST" "1"');
  const unit = readFileSync(join(folder, "data/usr/lib/systemd/system/walrust.service"), "utf8");
  expect(unit).toContain("\nExecStart=/usr/bin/walrust watch --config /etc/walrust/walrust.toml\n");
  expect(unit).not.toContain("Install as");

  const control = join(folder, "control");
  expect(readFileSync(join(control, "conffiles"), "utf8")).toBe("/etc/walrust/walrust.toml\n");
  await must(["md5sum", "--check", "--quiet", "--strict", join(control, "md5sums")], join(folder, "data"));
  for (const script of ["postinst", "prerm", "postrm"]) {
    expect(statSync(join(control, script)).mode & 0o777).toBe(0o755);
    await must(["sh", "-n", join(control, script)]);
  }
});

testWith("dpkg-deb").skipIf(!isRoot)(
  "dpkg installs, updates, removes and purges the package in a root",
  async () => {
    const [amd64] = await makePackages(debPackages);
    const root = tempFolder("deb-root");
    for (const path of ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log"]) {
      mkdirSync(join(root, path), { recursive: true });
    }
    await Bun.write(join(root, "var/lib/dpkg/status"), "");
    const config = join(root, "etc/walrust/walrust.toml");
    const dpkg = (...words: string[]) =>
      must([
        "dpkg",
        `--root=${root}`,
        "--force-depends,script-chrootless,confold",
        "--log=/dev/null",
        ...words,
      ]);
    await expectQuiet(dpkg("--install", amd64!));
    expect(existsSync(join(root, "usr/bin/walrust"))).toBe(true);
    await Bun.write(config, "# mine\n");
    await expectQuiet(dpkg("--install", amd64!));
    expect(readFileSync(config, "utf8")).toBe("# mine\n");
    await expectQuiet(dpkg("--remove", "walrust"));
    expect([existsSync(join(root, "usr/bin/walrust")), existsSync(config)]).toEqual([false, true]);
    await expectQuiet(dpkg("--purge", "walrust"));
    expect(existsSync(join(root, "etc/walrust"))).toBe(false);
  },
);

/** dpkg warns about the missing libc6 of the empty root, and about nothing else. */
async function expectQuiet(run: Promise<string>): Promise<void> {
  const said = await run.catch((error: Error) => error.message);
  const lines = said.split("\n").filter((line) => /error|cannot|fail/i.test(line));
  expect(lines).toEqual([]);
}

test("two runs make the same bytes", async () => {
  const [first, second] = [await makePackages(debPackages), await makePackages(debPackages)];
  for (const [index, path] of first.entries()) {
    expect(readFileSync(second[index]!).equals(readFileSync(path))).toBe(true);
  }
});
