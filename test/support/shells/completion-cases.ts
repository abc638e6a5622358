/**
 * Lines and their completions, in a folder with files, a walrust.toml and a backup. All shells complete them
 * in the same way.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tempFolder } from "../temp.ts";

/** A line, and the same line once it is completed; equal: nothing completes it. */
export type CompletedLine = readonly [typed: string, completed: string];

/** A line, and everything that its last word can become. */
export type OfferedWords = readonly [typed: string, offered: readonly string[]];

/** Names of databases that a backup can have, and that a shell must not run. */
export const HOSTILE_NAMES = ["$(touch evil)", "`touch evil`", "a;touch evil", "it's", 'a"b', "c:d", "e=f"];

/**
 * A folder with `app.db`, `my file.db`, `folder/`, a walrust.toml that names `backup/`, the backups of
 * `shop`, `tenants/romneys/app` and `tenants/smiths/app` there, and `other/` with the backup of `second`.
 */
export function completionFolder(): string {
  const folder = tempFolder("completions");
  for (const file of ["app.db", "my file.db"]) writeFileSync(join(folder, file), "");
  mkdirSync(join(folder, "folder"));
  for (const name of ["shop", "tenants/romneys/app", "tenants/smiths/app"])
    makeBackup(folder, "backup", name);
  makeBackup(folder, "other", "second");
  writeFileSync(join(folder, "walrust.toml"), `[s3]\nbucket = "file://${folder}/backup"\n`, { mode: 0o600 });
  const other = `[s3]\nbucket = "file://${folder}/other"\n`;
  writeFileSync(join(folder, "other.toml"), other, { mode: 0o600 });
  return folder;
}

/** Makes the folders of a backup. Completions read no object, so an empty file stands for the snapshot. */
export function makeBackup(folder: string, bucket: string, name: string): void {
  const level = join(folder, bucket, name, "ltx", "9");
  mkdirSync(level, { recursive: true });
  writeFileSync(join(level, "0000000000000001-0000000000000001.ltx"), "");
}

/** Lines of the folder with one completion each, or none. */
export function completedLines(folder: string): readonly CompletedLine[] {
  return [
    // Verbs.
    ["walrust rest", "walrust restore"],
    ["walrust pru", "walrust prune"],
    ["walrust help snap", "walrust help snapshot"],
    ["walrust completions z", "walrust completions zsh"],
    ["walrust nonsense --f", "walrust nonsense --f"],
    // Flags: not twice, and of the verb alone.
    ["walrust restore --stri", "walrust restore --strict"],
    ["walrust restore --strict --stri", "walrust restore --strict --stri"],
    ["walrust restore -o x --outp", "walrust restore -o x --outp"],
    ["walrust list --stri", "walrust list --stri"],
    ["walrust watch --independent", "walrust watch --independent"],
    ["walrust --lic", "walrust --licenses"],
    ["walrust prune --mon", "walrust prune --monthly"],
    // Choices.
    ["walrust list --log-format j", "walrust list --log-format json"],
    ["walrust list --log-format=j", "walrust list --log-format=json"],
    ["walrust watch --on-startup tr", "walrust watch --on-startup true"],
    // Files and folders.
    ["walrust snapshot app", "walrust snapshot app.db"],
    ["walrust restore shop -o app", "walrust restore shop -o app.db"],
    ["walrust restore shop --output=app", "walrust restore shop --output=app.db"],
    ["walrust restore --all --into fo", "walrust restore --all --into folder/"],
    ["walrust restore --all --into app", "walrust restore --all --into app"],
    ["walrust list -b s", "walrust list -b s3://"],
    [`walrust list -b file://${folder}/ba`, `walrust list -b file://${folder}/backup/`],
    [`walrust list --bucket=file://${folder}/ba`, `walrust list --bucket=file://${folder}/backup/`],
    // Names: of walrust.toml, of --config, of -b.
    ["walrust restore sh", "walrust restore shop"],
    ["walrust verify tenants/s", "walrust verify tenants/smiths/app"],
    ["walrust restore shop te", "walrust restore shop te"],
    ["walrust restore -o x.db --config other.toml s", "walrust restore -o x.db --config other.toml second"],
    [`walrust list --bucket=file://${folder}/other s`, `walrust list --bucket=file://${folder}/other second`],
    [`walrust list -b file://${folder}/other s`, `walrust list -b file://${folder}/other second`],
    [
      "walrust restore --all --into x --prefix tenants/r",
      "walrust restore --all --into x --prefix tenants/romneys/app",
    ],
    [
      "walrust restore --all --into x --prefix=tenants/r",
      "walrust restore --all --into x --prefix=tenants/romneys/app",
    ],
    // One flag in two verbs: a switch of list, a path of replicate.
    ["walrust list --local sh", "walrust list --local shop"],
    ["walrust replicate --local app", "walrust replicate --local app.db"],
    ["walrust replicate --local x.db sh", "walrust replicate --local x.db shop"],
    // A destination that cannot be used gives no names.
    ["walrust restore --config missing.toml sh", "walrust restore --config missing.toml sh"],
    ["walrust restore -b file:///no/such/folder sh", "walrust restore -b file:///no/such/folder sh"],
    ["walrust restore --no-such-flag sh", "walrust restore --no-such-flag sh"],
  ];
}

/** Lines with several completions. */
export const OFFERED: readonly OfferedWords[] = [
  ["walrust list --log-level ", ["debug", "error", "info", "warn"]],
  ["walrust restore --integrity-check ", ["full", "off", "quick"]],
  ["walrust compact --al", ["--all"]],
  [
    "walrust undo --",
    ["--config", "--help", "--json", "--log-format", "--log-level", "--state-dir", "--version"],
  ],
  [
    "walrust undo --json --config x --",
    ["--help", "--log-format", "--log-level", "--state-dir", "--version"],
  ],
  // A flag that is given once for each replica.
  ["walrust watch --push-to http://a --push-t", ["--push-to", "--push-token-file"]],
  ["walrust serve --db x --d", ["--dir"]],
  ["walrust list tenants/", ["tenants/romneys/app", "tenants/smiths/app"]],
  ["walrust sync ", ["shop", "tenants/romneys/app", "tenants/smiths/app"]],
];
