/** The bill of materials: all that is in the executable, with the checksums of bun.lock. */
import { expect, test } from "bun:test";
import packageJson from "../../../package.json";
import { billOf } from "../../../scripts/package/sbom.ts";
import { LICENSES } from "../../../src/commands/manual/licenses.ts";

const ABOUT = { version: "1.2.3", description: "d", license: "Apache-2.0", epochSeconds: 1_700_000_000 };

interface Bill {
  readonly serialNumber: string;
  readonly metadata: { readonly timestamp: string; readonly component: { readonly "bom-ref": string } };
  readonly components: readonly {
    readonly "bom-ref": string;
    readonly name: string;
    readonly version?: string;
    readonly hashes?: readonly { readonly content: string }[];
    readonly licenses?: readonly object[];
  }[];
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[];
}

const bill = billOf(ABOUT) as Bill;

test("billOf lists every package of the notices, each with a license, npm's with a checksum", () => {
  const listed = [...LICENSES.matchAll(/^(\S+) (\d\S*) \([^)]+\)$/gm)].map(
    ([, name, version]) => `${name} ${version}`,
  );
  expect(listed.length).toBeGreaterThan(20);
  const packages = bill.components.filter((component) => component.hashes !== undefined);
  expect(packages.map(({ name, version }) => `${name} ${version}`).toSorted()).toEqual(listed.toSorted());
  for (const { hashes } of packages) expect(hashes?.[0]?.content).toMatch(/^[0-9a-f]{128}$/);
  for (const component of bill.components) expect(component.licenses).toHaveLength(1);
});

test("billOf lists Bun, and the libraries that Bun links with the versions that Bun names", () => {
  const versions = new Map(bill.components.map(({ name, version }) => [name, version]));
  expect(versions.get("bun")).toBe(packageJson.packageManager.replace("bun@", ""));
  const named: Readonly<Record<string, string | undefined>> = process.versions;
  for (const [name, key] of Object.entries({
    webkit: "webkit",
    sqlite: "sqlite",
    "c-ares": "ares",
    zstd: "zstd",
  })) {
    expect(named[key]).toBeDefined();
    expect(versions.get(name)).toBe(named[key]);
  }
});

test("billOf refers only to components that it lists, and reaches all of them from walrust", () => {
  const root = bill.metadata.component["bom-ref"];
  const refs = [root, ...bill.components.map((component) => component["bom-ref"])];
  expect(new Set(refs).size).toBe(refs.length);
  const edges = new Map(bill.dependencies.map(({ ref, dependsOn }) => [ref, dependsOn]));
  const reached = new Set<string>();
  const visit = (ref: string): void => {
    if (reached.has(ref)) return;
    reached.add(ref);
    for (const next of edges.get(ref) ?? []) visit(next);
  };
  visit(root);
  expect([...reached].toSorted()).toEqual(refs.toSorted());
});

test("billOf depends on nothing but the commit", () => {
  expect(billOf(ABOUT)).toEqual(bill);
  expect(bill.metadata.timestamp).toBe("2023-11-14T22:13:20.000Z");
  expect(bill.serialNumber).toMatch(/^urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  expect((billOf({ ...ABOUT, version: "1.2.4" }) as Bill).serialNumber).not.toBe(bill.serialNumber);
});
