/**
 * Runs the commands of the README that install walrust, as written: npm and pip install from packages of this
 * test, and from nowhere else. `readme-shell.test.ts` runs the third way, the build.
 */
import { expect, setDefaultTimeout } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import packageJson from "../../../package.json";
import { npmPackages } from "../../../scripts/package/npm/npm-packages.ts";
import { makePackages } from "../../support/packages/made-packages.ts";
import { NpmRegistry } from "../../support/packages/npm-registry.ts";
import { builtWheel, findPythons } from "../../support/python/virtual-environment.ts";
import { Sandbox } from "../../support/readme/readme-sandbox.ts";
import { testWith } from "../../support/servers/peers.ts";

setDefaultTimeout(120_000);

const VERSION = `walrust ${packageJson.version} (`;

testWith("python3", "sqlite3")("README.md: installed by npm and by pip", async () => {
  const sandbox = await Sandbox.open();
  rmSync(join(sandbox.root, "bin", "walrust"));
  const [npx = "", pip = "", ...rest] = sandbox.linesOf("get");
  expect(rest).toEqual([]);

  const registry = await NpmRegistry.serve(await makePackages(npmPackages));
  const npm = `npm_config_registry=${registry.url} NO_PROXY=127.0.0.1 no_proxy=127.0.0.1`;
  const fetched = await sandbox.script(`export ${npm}\n${npx}`);
  expect(fetched.stdout).toStartWith(VERSION);

  const [python] = await findPythons();
  const environment = join(sandbox.root, "venv");
  await sandbox.script(`'${python!.path}' -m venv --without-pip '${environment}'`);
  // A pip of its own would cost the environment more time than all the rest.
  const ownPip = `exec '${python!.path}' -m pip --python '${environment}/bin/python' "$@"`;
  writeFileSync(join(environment, "bin", "pip"), `#!/bin/sh\n${ownPip}\n`, { mode: 0o755 });
  const index = `PIP_NO_INDEX=1 PIP_FIND_LINKS='${dirname(await builtWheel())}'`;
  const paths = `export PATH='${environment}/bin':"$PATH"`;
  await sandbox.script(`${paths} ${index}\n${pip}`);
  const installed = await sandbox.script(`${paths}\nwalrust --version`);
  expect(installed.stdout).toStartWith(VERSION);
});
