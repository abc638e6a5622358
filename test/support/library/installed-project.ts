/**
 * A project that has this package installed as its users have it: packed into an archive, and installed from
 * the archive by Bun. A lockfile names the versions of this repository's own lockfile, so that all other
 * packages come from Bun's cache, without the network.
 */
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import packageJson from "../../../package.json";
import { cleanEnvironment, collect, type Run, untilTestEnds, type Variables } from "../processes/binary.ts";
import { tempFolder } from "../temp.ts";

const ROOT = join(import.meta.dir, "../../..");

/** The compiler options that `bun init` writes, without those that only matter for output. */
const TSCONFIG = {
  compilerOptions: {
    lib: ["ESNext"],
    target: "ESNext",
    module: "Preserve",
    moduleDetection: "force",
    moduleResolution: "bundler",
    allowImportingTsExtensions: true,
    verbatimModuleSyntax: true,
    noEmit: true,
    strict: true,
    skipLibCheck: true,
    noFallthroughCasesInSwitch: true,
    noUncheckedIndexedAccess: true,
    noImplicitOverride: true,
    types: ["bun-types"],
  },
};

interface Lockfile {
  readonly workspaces: Record<string, unknown>;
  readonly packages: Record<string, unknown>;
}

/** The lockfile of a project with this manifest. */
function lockfileOf(manifest: object, archive: string, content: Uint8Array): string {
  const own = readFileSync(join(ROOT, "bun.lock"), "utf8");
  const lockfile = JSON.parse(own.replace(/,(\s*[}\]])/g, "$1")) as Lockfile;
  lockfile.workspaces[""] = manifest;
  const { dependencies } = packageJson;
  const hash = new Bun.CryptoHasher("sha512").update(content).digest("base64");
  lockfile.packages["walrust"] = [`walrust@./${archive}`, { dependencies }, `sha512-${hash}`];
  return JSON.stringify(lockfile);
}

/** An application's project. */
export class InstalledProject {
  private constructor(readonly folder: string) {}

  /** Packs this package and installs it into an empty project. @throws Error with the output of Bun */
  static async install(): Promise<InstalledProject> {
    const project = new InstalledProject(tempFolder("project"));
    const { folder } = project;
    await project.#must(["pm", "pack", "--destination", folder, "--ignore-scripts"], ROOT);
    const [archive = ""] = readdirSync(folder).filter((name) => name.endsWith(".tgz"));
    const { typescript, "bun-types": types } = packageJson.devDependencies;
    const manifest = {
      name: "app",
      dependencies: { walrust: `file:./${archive}` },
      devDependencies: { typescript, "bun-types": types },
    };
    project.write("package.json", JSON.stringify({ ...manifest, type: "module" }));
    project.write("bun.lock", lockfileOf(manifest, archive, readFileSync(join(folder, archive))));
    project.write("tsconfig.json", JSON.stringify(TSCONFIG));
    await project.#must(["install", "--offline", "--ignore-scripts"]);
    return project;
  }

  /** Writes a file of the project. */
  write(name: string, text: string): void {
    mkdirSync(join(this.folder, name, ".."), { recursive: true });
    writeFileSync(join(this.folder, name), text);
  }

  /** Copies a file of this repository into the project. */
  copy(path: string, name: string): void {
    copyFileSync(join(ROOT, path), join(this.folder, name));
  }

  /** Starts Bun in the project. The end of the test kills it. */
  spawn(words: readonly string[], env: Variables = {}): Bun.Subprocess<"ignore", "pipe", "pipe"> {
    return this.spawnProgram([process.execPath, ...words], env);
  }

  /** Starts a program in the project. The end of the test kills it. */
  spawnProgram(command: readonly string[], env: Variables = {}): Bun.Subprocess<"ignore", "pipe", "pipe"> {
    const stdio = ["ignore", "pipe", "pipe"] as ["ignore", "pipe", "pipe"];
    return untilTestEnds(Bun.spawn([...command], { cwd: this.folder, env: cleanEnvironment(env), stdio }));
  }

  /** Runs Bun in the project to its end. */
  run(words: readonly string[], env: Variables = {}): Promise<Run> {
    return collect(this.spawn(words, env), `bun ${words.join(" ")}`);
  }

  async #must(words: readonly string[], cwd = this.folder): Promise<void> {
    const env = { ...process.env };
    const child = Bun.spawn([process.execPath, ...words], { cwd, env, stdio: ["ignore", "pipe", "pipe"] });
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    if ((await child.exited) !== 0) throw new Error(`bun ${words.join(" ")} failed\n${stdout}${stderr}`);
  }
}
