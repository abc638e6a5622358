/**
 * `bun run peers`: installs the independent programs that the tests use as oracles, at pinned versions, into
 * the git-ignored `.peers/bin`. Skips programs that are already there at the pinned version.
 *
 * - ltx, litestream, versitygw, minio, promtool: built by `go install`, in some nine minutes on two cores
 *   without a cache.
 * - mypy: from PyPI, into a virtual environment of its own.
 * - sqlite3, Python, a browser (Chromium or Chrome) for the dashboard, the shells zsh and fish for
 *   completions, groff and mandoc for the manual page, dpkg and rpm for packages: the system's. In CI as
 *   root, apt-get installs them; elsewhere the script prints the command to run.
 */
import { existsSync, realpathSync } from "node:fs";
import { mkdir, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { fail, ROOT, run } from "./toolchain.ts";

const PEERS_FOLDER = join(ROOT, ".peers");
const BIN_FOLDER = join(PEERS_FOLDER, "bin");
const VERSIONS_FILE = join(PEERS_FOLDER, "versions.json");

/** Go package and version by the name of the executable, behind options of the build. */
const GO_PEERS: Readonly<Record<string, string>> = {
  ltx: "github.com/superfly/ltx/cmd/ltx@v0.5.3",
  litestream: "github.com/benbjohnson/litestream/cmd/litestream@v0.5.18",
  versitygw: "github.com/versity/versitygw/cmd/versitygw@v1.8.0",
  // MinIO's releases carry no version that the go command accepts, so this names a commit.
  minio: "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c",
  // Without service discovery, which needs the clients of all clouds.
  promtool: "-tags=remove_all_sd github.com/prometheus/prometheus/cmd/promtool@v0.316.0",
};

/** Package of PyPI and version by the name of the executable. */
const PYTHON_PEERS: Readonly<Record<string, string>> = { mypy: "mypy==2.4.1" };

/** Names of the executable by the name of the package in Debian. */
const SYSTEM_PEERS: Readonly<Record<string, readonly string[]>> = {
  sqlite3: ["sqlite3"],
  "python3-venv": ["python3"],
  "python3-pip": ["pip3"],
  chromium: ["chromium", "chromium-browser", "google-chrome"],
  zsh: ["zsh"],
  fish: ["fish"],
  groff: ["groff"],
  mandoc: ["mandoc"],
  dpkg: ["dpkg-deb"],
  rpm: ["rpm"],
};

/** Names of the programs that are not installed. */
export function missingPeers(): string[] {
  return [
    ...Object.keys({ ...GO_PEERS, ...PYTHON_PEERS }).filter((name) => !existsSync(join(BIN_FOLDER, name))),
    ...missingSystemPeers(),
  ];
}

function missingSystemPeers(): string[] {
  return Object.entries(SYSTEM_PEERS)
    .filter(([, programs]) => programs.every((program) => Bun.which(program) === null))
    .map(([name]) => name);
}

/** Names and versions that are not installed. */
function dueOf(peers: Readonly<Record<string, string>>, installed: Readonly<Record<string, string>>) {
  return Object.entries(peers).filter(
    ([name, version]) => installed[name] !== version || !existsSync(join(BIN_FOLDER, name)),
  );
}

async function installGoPeers(): Promise<void> {
  const installed = await readVersions();
  const due = dueOf(GO_PEERS, installed);
  if (due.length === 0) return;
  const go = Bun.which("go");
  if (go === null) {
    const names = due.map(([name]) => name).join(", ");
    fail(`Cannot build ${names}: the go command is missing. Install Go: https://go.dev/doc/install`);
  }
  await mkdir(BIN_FOLDER, { recursive: true });
  for (const [name, version] of due) {
    console.log(`Building ${name} (${version})`);
    const exitCode = await run([go, "install", ...version.split(" ")], {
      cwd: BIN_FOLDER,
      env: { GOBIN: BIN_FOLDER },
    });
    if (exitCode !== 0) fail(`go install ${version} ended with exit code ${exitCode}`);
    await writeVersions(Object.assign(installed, { [name]: version }));
  }
}

async function installPythonPeers(): Promise<void> {
  const installed = await readVersions();
  await mkdir(BIN_FOLDER, { recursive: true });
  for (const [name, version] of dueOf(PYTHON_PEERS, installed)) {
    console.log(`Installing ${version}`);
    // The programs of a virtual environment begin with the path of their folder.
    const folder = join(realpathSync(PEERS_FOLDER), name);
    const link = join(BIN_FOLDER, name);
    for (const command of [
      ["python3", "-m", "venv", "--clear", folder],
      [join(folder, "bin", "python"), "-m", "pip", "install", "--quiet", version],
    ]) {
      const exitCode = await run(command);
      if (exitCode !== 0) fail(`${command.join(" ")} ended with exit code ${exitCode}`);
    }
    await rm(link, { force: true });
    await symlink(join("..", name, "bin", name), link);
    await writeVersions(Object.assign(installed, { [name]: version }));
  }
}

/** Versions that the last run installed; empty, so that all are built, when the file cannot be read. */
async function readVersions(): Promise<Record<string, string>> {
  try {
    return await Bun.file(VERSIONS_FILE).json();
  } catch {
    return {};
  }
}

async function writeVersions(versions: Readonly<Record<string, string>>): Promise<void> {
  await Bun.write(VERSIONS_FILE, `${JSON.stringify(versions, null, 2)}\n`);
}

async function installSystemPeers(): Promise<void> {
  const missing = missingSystemPeers();
  if (missing.length === 0) return;
  const mayInstall =
    process.env["CI"] !== undefined && process.getuid?.() === 0 && Bun.which("apt-get") !== null;
  if (!mayInstall) {
    fail(`Missing: ${missing.join(", ")}. Install with \`apt-get install ${missing.join(" ")}\``);
  }
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  await run(["apt-get", "update", "-q"], { env });
  const command = ["apt-get", "install", "-q", "-y", "--no-install-recommends", ...missing];
  const exitCode = await run(command, { env });
  if (exitCode !== 0) fail(`${command.join(" ")} ended with exit code ${exitCode}`);
}

if (import.meta.main) {
  await installGoPeers();
  await installSystemPeers();
  await installPythonPeers();
  const missing = missingPeers();
  if (missing.length > 0) fail(`Missing after the installation: ${missing.join(", ")}`);
  console.log(
    `All peers are installed in ${BIN_FOLDER} (from the system: ${Object.keys(SYSTEM_PEERS).join(", ")})`,
  );
}
