/**
 * The bill of materials: `walrust-VERSION.cdx.json` in the format CycloneDX 1.6. It lists the parts of the
 * executables: npm packages with the checksums of bun.lock, Bun, and the libraries that Bun links. The list
 * is the same for all platforms.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { bundledPackages } from "../licenses.ts";
import { ROOT } from "../toolchain.ts";
import type { PackageContext, PackageKind } from "./package-kind.ts";

/** The kind of packages that `--kind sbom` selects. */
export const bill: PackageKind = { name: "sbom", make };

/** A component in CycloneDX's words. */
interface Component {
  readonly type: "application" | "library" | "framework";
  readonly "bom-ref": string;
  readonly name: string;
  readonly version?: string;
  readonly purl?: string;
  readonly licenses?: readonly object[];
  readonly hashes?: readonly object[];
  readonly externalReferences?: readonly object[];
}

/** Names in `process.versions` of the libraries that have another name in the notices. */
const VERSION_NAMES: Readonly<Record<string, string>> = {
  "lol-html": "lolhtml",
  "ls-hpack": "lshpack",
  picohttp: "picohttpparser",
  uSockets: "usockets",
  "c-ares": "ares",
  libicu: "icu",
  "A fork of uWebsockets": "uwebsockets",
};

async function make(context: PackageContext): Promise<string[]> {
  const name = `walrust-${context.version}.cdx.json`;
  await Bun.write(join(context.folder, name), `${JSON.stringify(billOf(context), null, 2)}\n`);
  return [name];
}

/** The bill as a document. @throws Error when a bundled package is not in bun.lock */
export function billOf({ version, description, license, epochSeconds }: BillContext): object {
  const self = `pkg:npm/walrust@${version}`;
  const packages = npmComponents();
  const bun: Component = {
    type: "framework",
    "bom-ref": `pkg:npm/bun@${Bun.version}`,
    name: "bun",
    version: Bun.version,
    purl: `pkg:npm/bun@${Bun.version}`,
    licenses: [{ license: { id: "MIT" } }],
  };
  const libraries = bunLibraries(readFileSync(join(ROOT, "scripts", "licenses", "bun.txt"), "utf8"));
  const content = {
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    version: 1,
    metadata: {
      timestamp: new Date(epochSeconds * 1000).toISOString(),
      component: {
        type: "application",
        "bom-ref": self,
        name: "walrust",
        version,
        description,
        purl: self,
        licenses: [{ license: { id: license } }],
      },
    },
    components: [...packages.components, bun, ...libraries],
    dependencies: [
      { ref: self, dependsOn: [...packages.direct, bun["bom-ref"]] },
      ...packages.dependencies,
      { ref: bun["bom-ref"], dependsOn: libraries.map((library) => library["bom-ref"]) },
    ],
  };
  return { ...content, serialNumber: serialOf(JSON.stringify(content)) };
}

type BillContext = Pick<PackageContext, "version" | "description" | "license" | "epochSeconds">;

/** The bundled npm packages, and which of them needs which. */
function npmComponents() {
  const checksums = lockedChecksums(readFileSync(join(ROOT, "bun.lock"), "utf8"));
  const found = [...bundledPackages().values()].map(({ manifest }) => manifest);
  // One version of each package is bundled, so a name is enough; a second version would be a second row.
  const refs = new Map(found.map(({ name, version }) => [name, purlOf(name, version)]));
  if (refs.size !== found.length) throw new Error("Two versions of one package are bundled: name both here");
  const refsOf = (names: object | undefined): string[] =>
    Object.keys(names ?? {}).map((name) => refs.get(name) ?? `pkg:npm/${name}`);
  const components = found.map(({ name, version, license }): Component => {
    const checksum = checksums.get(`${name}@${version}`);
    if (checksum === undefined) throw new Error(`bun.lock has no ${name}@${version}`);
    const ref = purlOf(name, version);
    return {
      type: "library",
      "bom-ref": ref,
      name,
      version,
      purl: ref,
      ...(license === undefined ? {} : { licenses: [{ license: { id: license } }] }),
      hashes: [{ alg: "SHA-512", content: Buffer.from(checksum, "base64").toString("hex") }],
    };
  });
  const dependencies = found.map(({ name, dependencies }) => ({
    ref: refs.get(name) ?? name,
    dependsOn: refsOf(dependencies),
  }));
  const own = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { dependencies?: object };
  return { components, dependencies, direct: refsOf(own.dependencies) };
}

function purlOf(name: string, version: string): string {
  return `pkg:npm/${name.replace("@", "%40")}@${version}`;
}

/** SHA-512 in base64 by `name@version`, from the text of bun.lock: JSON with trailing commas. */
function lockedChecksums(text: string): Map<string, string> {
  const { packages } = JSON.parse(text.replace(/,(\s*[}\]])/g, "$1")) as {
    packages: Record<string, readonly unknown[]>;
  };
  return new Map(
    Object.values(packages).map((row) => [String(row[0]), String(row.at(-1)).replace(/^sha512-/, "")]),
  );
}

/** The libraries in the notices of Bun: a line with name and address, then one with the license. */
function bunLibraries(notices: string): Component[] {
  const listed = [...notices.matchAll(/^ {2}(\S[^<\n]*) <([^>]+)>.*\n {6}(.+)$/gm)];
  const webkit = ["", "webkit", "https://github.com/oven-sh/WebKit", "LGPL-2.0 and LGPL-2.1"];
  const versions: Readonly<Record<string, string | undefined>> = process.versions;
  return [webkit, ...listed].map(([, name = "", url = "", license = ""]): Component => {
    const version = versions[VERSION_NAMES[name] ?? name];
    return {
      type: "library",
      "bom-ref": `bun/${name}`,
      name,
      ...(version === undefined ? {} : { version }),
      licenses: [{ license: { name: license.replace(/ <[^>]*>/, "") } }],
      externalReferences: [{ type: "website", url }],
    };
  });
}

/** A serial number that depends on the content only. */
function serialOf(content: string): string {
  const digest = new Bun.CryptoHasher("sha256").update(content).digest("hex");
  const parts = [digest.slice(0, 8), digest.slice(8, 12), digest.slice(12, 16), digest.slice(16, 20)];
  return `urn:uuid:${parts.join("-")}-${digest.slice(20, 32)}`;
}
