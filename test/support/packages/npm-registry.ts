/** An npm registry on the loopback that serves the packages of a test, and projects that use it. */
import { afterAll } from "bun:test";
import { writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { cleanEnvironment, type Run, untilTestEnds } from "../processes/binary.ts";
import { tempFolder } from "../temp.ts";

interface Manifest {
  readonly name: string;
  readonly version: string;
}

const servers: Bun.Server<undefined>[] = [];

afterAll(() => Promise.all(servers.splice(0).map((server) => server.stop(true))));

/** A registry that ends with the test file. */
export class NpmRegistry {
  readonly #server: Bun.Server<undefined>;
  readonly #packuments = new Map<string, object>();
  readonly #tarballs = new Map<string, Uint8Array>();

  private constructor() {
    this.#server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: (request) => this.#answer(request) });
    servers.push(this.#server);
  }

  /** Serves these archives, one version of each package. */
  static async serve(archives: readonly string[]): Promise<NpmRegistry> {
    const registry = new NpmRegistry();
    for (const path of archives) await registry.#add(path);
    return registry;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.port}/`;
  }

  async #add(path: string): Promise<void> {
    const bytes = await Bun.file(path).bytes();
    const files = await new Bun.Archive(new Blob([bytes])).files("package/package.json");
    const manifest = JSON.parse((await files.get("package/package.json")?.text()) ?? "") as Manifest;
    const { name, version } = manifest;
    const integrity = `sha512-${new Bun.CryptoHasher("sha512").update(bytes).digest("base64")}`;
    const dist = { tarball: `${this.url}tarballs/${basename(path)}`, integrity };
    this.#packuments.set(name, {
      name,
      "dist-tags": { latest: version },
      versions: { [version]: { ...manifest, dist } },
    });
    this.#tarballs.set(basename(path), bytes);
  }

  #answer(request: Request): Response {
    const path = decodeURIComponent(new URL(request.url).pathname).slice(1);
    const packument = this.#packuments.get(path);
    if (packument !== undefined) return Response.json(packument);
    const tarball = this.#tarballs.get(path.replace(/^tarballs\//, ""));
    return tarball === undefined ? new Response("", { status: 404 }) : new Response(new Blob([tarball]));
  }
}

/** An empty project, in which npm installs from a registry and nowhere else. */
export class NpmProject {
  readonly folder = tempFolder("project");
  readonly #registry: string;

  constructor(registry: NpmRegistry) {
    this.#registry = registry.url;
    writeFileSync(join(this.folder, "package.json"), JSON.stringify({ name: "project", version: "1.0.0" }));
  }

  /** The command that an installed package provides. */
  command(name: string): string {
    return join(this.folder, "node_modules", ".bin", name);
  }

  /** Runs a program of npm: `npm` or `npx`. An installation has the whole time of a test. */
  async run(program: "npm" | "npx", ...words: string[]): Promise<Run> {
    const env = cleanEnvironment({
      npm_config_registry: this.#registry,
      npm_config_cache: join(this.folder, ".cache"),
      npm_config_userconfig: join(this.folder, ".npmrc"),
      npm_config_audit: "false",
      npm_config_fund: "false",
      npm_config_update_notifier: "false",
      NO_PROXY: "127.0.0.1",
      no_proxy: "127.0.0.1",
    });
    const stdio = ["ignore", "pipe", "pipe"] as ["ignore", "pipe", "pipe"];
    const child = untilTestEnds(Bun.spawn([program, ...words], { cwd: this.folder, env, stdio }));
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    return { exitCode: await child.exited, stdout, stderr };
  }
}
