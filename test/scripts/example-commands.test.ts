/**
 * The examples for systemd and containers: each file parses, each command is one that walrust accepts, each
 * variable is one that walrust reads, and systemd finds no fault with the unit.
 */
import { describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { VERBS } from "../../scripts/reference.ts";
import { assertPositionals, optionsOf } from "../../src/commands/shared/verb.ts";
import { commandWords } from "../../src/commands/watch/command-words.ts";
import { parseConfigFile } from "../../src/config/config-file.ts";
import { checkEnvironment } from "../../src/config/environment.ts";
import { COURSE_OPTIONS } from "../../src/config/settings/options.ts";
import { optionValues, parseWords } from "../../src/config/settings/parse-options.ts";
import { tempFolder } from "../support/temp.ts";

const FOLDER = join(import.meta.dir, "../../scripts/examples");

function textOf(name: string): string {
  return readFileSync(join(FOLDER, name), "utf8");
}

/** The values of a key in a unit, in order. */
function unitValues(key: string): string[] {
  return [...textOf("walrust.service").matchAll(new RegExp(`^${key}=(.*)$`, "gm"))].map(
    ([, value]) => value!,
  );
}

type Yaml = string | number | boolean | null | readonly Yaml[] | { readonly [key: string]: Yaml };

/** Every object in a document, itself included. */
function objectsIn(value: Yaml): Record<string, Yaml>[] {
  if (value === null || typeof value !== "object") return [];
  const inside = Object.values(value).flatMap(objectsIn);
  return Array.isArray(value) ? inside : [value as Record<string, Yaml>, ...inside];
}

const COMPOSE = Bun.YAML.parse(textOf("compose.yaml")) as {
  readonly services: Record<string, Record<string, Yaml>>;
};
const KUBERNETES = (Bun.YAML.parse(textOf("kubernetes.yaml")) as Yaml[]).flatMap(objectsIn);

/** Each command with the file that it stands in. */
const COMMANDS: readonly (readonly [file: string, words: readonly string[]])[] = [
  ...["ExecStart", "ExecReload"]
    .flatMap(unitValues)
    .map((text) => ["walrust.service", text.split(" ")] as const),
  ...[...Object.values(COMPOSE.services), ...KUBERNETES]
    .filter(({ command }) => Array.isArray(command))
    .map(({ command }) => ["compose.yaml or kubernetes.yaml", command as string[]] as const),
  ["Dockerfile", JSON.parse(/^ENTRYPOINT (\[.*\])$/m.exec(textOf("Dockerfile"))![1]!) as string[]],
  ...["README.md"].flatMap((file) =>
    [...textOf(file).matchAll(/`(?:sudo -u \w+ )?(walrust [a-z][^`]*)`/g)].map(
      ([, text]) => [file, text!.split(" ")] as const,
    ),
  ),
];

test("the examples hold the commands that they are about", () => {
  expect(COMMANDS.length).toBe(9);
});

test.each(COMMANDS.map(([file, words]) => [file, words.join(" "), words] as const))(
  "%s: walrust accepts %s",
  (_file, _text, [program = "", name = "", ...rest]) => {
    expect(program).toMatch(/^(\/usr\/bin\/)?walrust$/);
    const verb = VERBS.find((one) => one.name === name);
    expect(verb).toBeDefined();
    const words = parseWords(rest, optionsOf(verb!));
    assertPositionals(verb!, words);
    const { exec } = optionValues(words, COURSE_OPTIONS);
    if (exec !== undefined) expect(commandWords(exec)[0]).toBe("/app/server");
  },
);

test("every variable of the examples is a setting of walrust", () => {
  const folder = tempFolder("examples");
  writeFileSync(join(folder, "key"), "KEY");
  const found: Record<string, string> = {};
  const add = (name: string, value: string): void => {
    found[name] = name.endsWith("_FILE") ? join(folder, "key") : value;
  };
  for (const text of unitValues("Environment"))
    add(text.slice(0, text.indexOf("=")), text.slice(text.indexOf("=") + 1));
  for (const { environment } of Object.values(COMPOSE.services))
    for (const [name, value] of Object.entries(environment ?? {})) add(name, String(value));
  for (const { name, value } of KUBERNETES)
    if (typeof name === "string" && name.startsWith("WALRUST_")) add(name, String(value));
  for (const [, name, value] of textOf("Dockerfile").matchAll(/^ENV (\w+)=(.*)$/gm)) add(name!, value!);
  expect(Object.keys(found).length).toBeGreaterThan(4);
  expect(checkEnvironment(found)).toEqual([]);
});

test("walrust.toml of the examples is a configuration", () => {
  const { values, databases } = parseConfigFile(
    textOf("walrust.toml"),
    "/etc/walrust/walrust.toml",
    "walrust.toml",
    {},
  );
  expect([values.size, databases.length]).toEqual([1, 2]);
});

test("compose.yaml starts the application after the restore, and stops walrust after the application", () => {
  const { restore, walrust, app } = COMPOSE.services;
  const done = { condition: "service_completed_successfully" };
  expect(walrust!["depends_on"]).toEqual({ restore: done });
  expect(app!["depends_on"]).toEqual({ restore: done, walrust: { condition: "service_started" } });
  expect([restore!["user"], walrust!["user"]]).toEqual([app!["user"]!, app!["user"]!]);
  const volumes = [restore, walrust, app].map((service) => service!["volumes"]);
  expect(new Set(volumes.map((one) => JSON.stringify(one)))).toEqual(new Set(['["data:/data"]']));
});

test("kubernetes.yaml restores first, and has a sidecar that outlives the application", () => {
  const pod = KUBERNETES.find(({ initContainers }) => initContainers !== undefined)!;
  const containers = pod["initContainers"] as Record<string, Yaml>[];
  expect(containers.map(({ name, restartPolicy }) => [name, restartPolicy])).toEqual([
    ["restore", undefined],
    ["walrust", "Always"],
  ]);
  expect(KUBERNETES.find(({ kind }) => kind === "StatefulSet")).toMatchObject({ spec: { replicas: 1 } });
});

describe.skipIf(Bun.which("systemd-analyze") === null)("systemd", () => {
  /** The unit in a folder, with a program that is there. */
  function unit(): string {
    const path = join(tempFolder("unit"), "walrust.service");
    writeFileSync(path, textOf("walrust.service").replaceAll("/usr/bin/walrust", "/bin/true"));
    return path;
  }

  test("finds no fault with the unit", () => {
    const run = Bun.spawnSync(["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit()]);
    expect([run.stderr.toString(), run.exitCode]).toEqual(["", 0]);
  });

  test("rates the exposure of the unit as the README says", () => {
    const run = Bun.spawnSync(["systemd-analyze", "security", "--offline=true", "--no-pager", unit()]);
    const [, rating] =
      /Overall exposure level for walrust\.service: ([\d.]+) OK/.exec(run.stdout.toString()) ?? [];
    expect(Number(rating)).toBeLessThanOrEqual(Number(/gives ([\d.]+) \(OK\)/.exec(textOf("README.md"))![1]));
  });
});
