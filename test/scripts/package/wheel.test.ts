/**
 * The wheels: their names, files, tags and digests, as Python itself reads them. pip installs a real wheel in
 * test/e2e/python/.
 */
import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PackageContext } from "../../../scripts/package/package-kind.ts";
import { targetsNamed } from "../../../scripts/package/targets.ts";
import { metadataText, pythonVersion, wheels } from "../../../scripts/package/wheel.ts";
import { peerPath, testWith } from "../../support/servers/peers.ts";
import { tempFolder } from "../../support/temp.ts";

/** A run for two platforms whose executables are small texts. */
function contextOf(): PackageContext {
  const folder = tempFolder("wheels");
  const executables = targetsNamed(["linux-x64", "darwin-arm64"]).map((target) => {
    const path = join(folder, `executable-${target.name}`);
    writeFileSync(path, target.name);
    return { target, path };
  });
  const documents = ["LICENSE", "THIRD-PARTY-NOTICES.txt"].map((path) => ({ path, text: `${path}\n` }));
  const about = { version: "1.2.3-rc.4", description: "Keeps copies.", license: "Apache-2.0" };
  return { ...about, epochSeconds: 1_800_000_000, compressionLevel: 1, folder, executables, documents };
}

/** Python's own reading of a wheel: RECORD compared with every file, then the facts as a line of JSON. */
const READ = `
import base64, csv, email, hashlib, io, json, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as file:
    read = lambda name: file.read("walrust-1.2.3rc4.dist-info/" + name).decode()
    record = list(csv.reader(io.StringIO(read("RECORD"))))
    digests = {}
    for name, digest, size in record[:-1]:
        content = file.read(name)
        assert int(size) == len(content), name
        digests[name] = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        assert digest == "sha256=" + digests[name], name
    assert record[-1] == ["walrust-1.2.3rc4.dist-info/RECORD", "", ""], record[-1]
    assert [row[0] for row in record] == file.namelist()
    metadata = email.message_from_string(read("METADATA"))
    print(json.dumps({
        "names": file.namelist(),
        "executables": [one.filename for one in file.infolist() if one.external_attr >> 16 & 0o111],
        "program": file.read("walrust-1.2.3rc4.data/scripts/walrust").decode(),
        "wheel": email.message_from_string(read("WHEEL")).items(),
        "metadata": [item for item in metadata.items() if item[0] != "Classifier"],
        "page": metadata.get_payload()[:20],
    }))
`;

describe("wheels", () => {
  testWith("python3")("make one wheel for each platform that Python finds complete", async () => {
    const context = contextOf();
    const names = await wheels.make(context);
    expect(names).toEqual([
      "walrust-1.2.3rc4-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
      "walrust-1.2.3rc4-py3-none-macosx_13_0_arm64.whl",
    ]);
    const path = join(context.folder, names[0]!);
    const child = Bun.spawn([peerPath("python3"), "-c", READ, path], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const found = JSON.parse(await child.stdout.text()) as { names: string[] };
    expect(found.names).toEqual(expect.arrayContaining(["walrust/__init__.py", "walrust/py.typed"]));
    expect(found.names.filter((name) => name.includes("__pycache__"))).toEqual([]);
    expect(found).toMatchObject({
      executables: ["walrust-1.2.3rc4.data/scripts/walrust"],
      program: "linux-x64",
      wheel: [
        ["Wheel-Version", "1.0"],
        ["Generator", "walrust (1.2.3-rc.4)"],
        ["Root-Is-Purelib", "false"],
        ["Tag", "py3-none-manylinux_2_17_x86_64"],
        ["Tag", "py3-none-manylinux2014_x86_64"],
      ],
      metadata: [
        ["Metadata-Version", "2.4"],
        ["Name", "walrust"],
        ["Version", "1.2.3rc4"],
        ["Summary", "Keeps copies."],
        ["License-Expression", "Apache-2.0"],
        ["License-File", "LICENSE"],
        ["License-File", "THIRD-PARTY-NOTICES.txt"],
        ["Keywords", "sqlite,backup,replication,s3,litestream"],
        ["Requires-Python", ">=3.9"],
        ["Description-Content-Type", "text/markdown"],
      ],
      page: "# walrust for Python",
    });
  });

  test("make the same bytes again", async () => {
    const [one, other] = [contextOf(), contextOf()];
    const [name = ""] = await wheels.make(one);
    await wheels.make(other);
    const read = (context: PackageContext) => Bun.file(join(context.folder, name)).bytes();
    expect(await read(one)).toEqual(await read(other));
  });
});

test("pythonVersion spells versions as Python does", () => {
  expect(["0.4.0", "1.0.0-alpha.1", "1.0.0-beta.2", "10.20.30-rc.4"].map(pythonVersion)).toEqual([
    "0.4.0",
    "1.0.0a1",
    "1.0.0b2",
    "10.20.30rc4",
  ]);
  for (const version of ["1.0", "1.0.0-next", "1.0.0+build"]) {
    expect(() => pythonVersion(version)).toThrow(`no spelling for the version ${version}`);
  }
});

test("metadataText leaves no link that leads nowhere at PyPI", () => {
  const about = { version: "1.0.0", description: "d", license: "Apache-2.0" };
  const page = "[own](../README.md#a) [`code`](#b) [web](https://example.com/x)\n";
  expect(metadataText(about, page)).not.toContain("Project-URL");
  const repository = "https://example.com/walrust";
  expect(metadataText({ ...about, repository }, page)).toContain(`\nProject-URL: Source, ${repository}\n`);
  expect(metadataText(about, page)).toEndWith("\n\nown `code` [web](https://example.com/x)\n");
});
