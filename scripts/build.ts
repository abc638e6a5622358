/**
 * `bun run build`: makes `dist/walrust`, one executable with Bun and the program.
 *
 *   --target NAME    bun-linux-x64, bun-linux-arm64, either with -musl, bun-darwin-x64, bun-darwin-arm64
 *   --outfile PATH   instead of dist/walrust (or dist/walrust-<target>)
 *   --no-profile     skip the second pass
 *
 * The build has two passes. The executable of the first pass replicates a small database and records the
 * functions it used. The second pass places the bytecode of these functions together, so that the kernel maps
 * less of the file. `--splitting` keeps lazily imported chunks (the AWS SDK) apart. A rename puts the
 * finished executable in place.
 */
import { Database } from "bun:sqlite";
import { mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { BINARY, bunCommand, capture, commitDateOrNull, ensurePackages, fail, ROOT } from "./toolchain.ts";

const ENTRY = join(ROOT, "src", "main.ts");
const TARGETS = /^bun-(linux-(x64|arm64)(-musl)?|darwin-(x64|arm64))$/;
const PROFILE_RUN_LIMIT_MS = 10_000;

/** Options of one build. */
export interface BuildOptions {
  readonly outfile: string;
  /** Bun's name of the platform; absent for this machine's. */
  readonly target?: string | undefined;
  /** Bun's executable for the platform; absent for the one that Bun finds or downloads. */
  readonly runtime?: string | undefined;
  /** The order of the bytecode: recorded by a first pass, read from a file, or none. */
  readonly order: "recorded" | { readonly file: string } | "none";
}

/**
 * Builds the executable.
 * @throws Error with Bun's own output when the program does not compile
 */
export async function build(options: BuildOptions): Promise<void> {
  await mkdir(dirname(options.outfile), { recursive: true });
  const folder = await mkdtemp(join(dirname(options.outfile), ".build-"));
  try {
    const { order } = options;
    const recorded = order === "recorded" ? await recordProfile(folder) : null;
    const output = join(folder, "walrust");
    await compile(output, options, typeof order === "object" ? order.file : recorded);
    await rename(output, options.outfile);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function compile(
  outfile: string,
  { target, runtime }: Pick<BuildOptions, "target" | "runtime">,
  orderFile: string | null,
): Promise<void> {
  const { version } = await Bun.file(join(ROOT, "package.json")).json();
  const result = await capture(
    bunCommand(
      "build",
      ENTRY,
      "--compile",
      "--minify",
      "--bytecode",
      "--format=esm",
      "--splitting",
      "--no-compile-autoload-dotenv",
      "--no-compile-autoload-bunfig",
      "--define",
      `WALRUST_VERSION=${JSON.stringify(version)}`,
      "--define",
      `WALRUST_DATE=${JSON.stringify(await commitDateOrNull())}`,
      `--outfile=${outfile}`,
      ...(target === undefined ? [] : [`--target=${target}`]),
      ...(runtime === undefined ? [] : [`--compile-executable-path=${runtime}`]),
      ...(orderFile === null ? [] : [`--bytecode-order=${orderFile}`]),
    ),
  );
  if (result.exitCode !== 0) throw new Error(`bun build failed:\n${result.stdout}${result.stderr}`);
}

/**
 * Records the bytecode order of a short `watch` that uploads a first snapshot and an increment. Returns null,
 * with a warning, when the recording fails: the order is an optimisation, and the build succeeds without it.
 */
async function recordProfile(folder: string): Promise<string | null> {
  const program = join(folder, "unordered");
  await compile(program, {}, null);
  const orderFile = join(folder, "walrust.order");
  return (await recordOrder(program, orderFile)) ? orderFile : null;
}

/** Records the order of an executable into a file. @returns false, with a warning, when that fails */
export async function recordOrder(program: string, orderFile: string): Promise<boolean> {
  const work = await mkdtemp(join(tmpdir(), "walrust-profile-"));
  const database = new Database(join(work, "profile.db"));
  try {
    database.run("PRAGMA journal_mode = WAL");
    database.run("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)");
    const exitCode = await watchOnce(program, work, orderFile, () => {
      database.run("INSERT INTO t (body) VALUES ('one more commit')");
    });
    if (exitCode === 0 && (await Bun.file(orderFile).exists())) return true;
    console.error(`No bytecode order: the recording run ended with exit code ${exitCode}`);
    return false;
  } finally {
    database.close();
    await rm(work, { recursive: true, force: true });
  }
}

/** Runs `watch` until two uploads or the time limit, stops the process, and returns its exit code. */
async function watchOnce(
  program: string,
  work: string,
  orderFile: string,
  commit: () => void,
): Promise<number> {
  const child = Bun.spawn(
    [
      program,
      "watch",
      join(work, "profile.db"),
      "-b",
      `file://${work}/bucket`,
      "--json",
      "--log-level",
      "error",
    ],
    {
      cwd: work,
      env: { PATH: process.env["PATH"], HOME: work, BUN_BYTECODE_ORDER_OUT: orderFile },
      stdio: ["ignore", "pipe", "inherit"],
      timeout: PROFILE_RUN_LIMIT_MS,
      killSignal: "SIGKILL",
    },
  );
  let uploads = 0;
  for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
    const news = chunk.match(/"event":\s*"uploaded"/g)?.length ?? 0;
    if (news > 0) commit();
    uploads += news;
    if (uploads >= 2) child.kill("SIGTERM");
  }
  return await child.exited;
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      target: { type: "string" },
      outfile: { type: "string" },
      "no-profile": { type: "boolean", default: false },
    },
  });
  const { target } = values;
  if (target !== undefined && !TARGETS.test(target))
    fail(`Unknown target ${target}: see the head of this script`);
  const outfile = resolve(values.outfile ?? (target === undefined ? BINARY : `${BINARY}-${target}`));
  await ensurePackages();
  try {
    await build({ outfile, target, order: values["no-profile"] ? "none" : "recorded" });
  } catch (error) {
    fail(error instanceof Error ? error.message : String(error));
  }
  console.error(`Built ${outfile} (${(Bun.file(outfile).size / 1e6).toFixed(0)} MB)`);
}
