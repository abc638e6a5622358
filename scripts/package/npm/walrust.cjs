#!/usr/bin/env node
/**
 * The `walrust` command of the npm package: starts the executable that the package of this platform holds.
 * Needs nothing but Node.js, downloads nothing, and adds nothing to what walrust prints.
 *
 * Where Node.js can (`process.execve`, from 22.15), the executable takes the place of this process. Elsewhere
 * it is a child: this process passes SIGTERM, SIGINT and SIGHUP on, and ends as the child ends, with its exit
 * code or by its signal. When this process is killed, Linux sends the child of `watch` and `replicate` a
 * SIGTERM, so that no walrust runs on unseen. `nohup` has no effect: Node.js resets all signals at its start.
 */
"use strict";

const { spawn } = require("child_process");
const { accessSync, constants, readFileSync } = require("fs");
const { constants: osConstants } = require("os");
const { dirname, join } = require("path");
const { name: ownName, version, optionalDependencies } = require("../package.json");

const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP"];
const SIGNAL_BASE = 128;
/** Verbs that run until somebody stops them. */
const LASTING = ["watch", "replicate"];
/** The word with which walrust ties itself to its parent (src/commands/watch/application.ts). */
const TIED_WORD = "__become-application";

main(process.argv.slice(2));

function main(words) {
  const executable = findExecutable();
  if (typeof process.execve === "function") process.execve(executable, [executable, ...words], process.env);
  else run(executable, words);
}

/** The path of the executable for this machine. Ends the process if there is none. */
function findExecutable() {
  const { platform, arch } = process;
  const wanted = `@walrust/${platform}-${arch}${platform === "linux" && isMusl() ? "-musl" : ""}`;
  const known = Object.keys(optionalDependencies);
  if (!known.includes(wanted)) {
    const names = known.map((name) => name.slice("@walrust/".length)).join(", ");
    fail(`There is no walrust for ${wanted.slice("@walrust/".length)}`, `walrust runs on ${names}`);
  }
  const found = findPackage(wanted);
  if (found === null) {
    const other = known.find((name) => findPackage(name) !== null);
    fail(
      `The package ${wanted} is not installed`,
      other === undefined
        ? `npm leaves it out with --omit=optional. Install again without this option: npm install ${ownName}@${version}`
        : `There is ${other}: this node_modules comes from another system. Install it anew on this machine`,
    );
  }
  if (found.version !== version) {
    fail(
      `The package ${wanted} has version ${found.version}, and ${ownName} has ${version}`,
      `Install both again: npm install ${ownName}@${version}`,
    );
  }
  const executable = join(found.folder, "walrust");
  try {
    accessSync(executable, constants.X_OK);
  } catch (error) {
    fail(`Cannot run ${executable}: ${error.message}`, `Install again: npm install ${ownName}@${version}`);
  }
  return executable;
}

function findPackage(name) {
  try {
    const manifest = require.resolve(`${name}/package.json`);
    return { folder: dirname(manifest), version: JSON.parse(readFileSync(manifest, "utf8")).version };
  } catch {
    return null;
  }
}

/** Whether Node.js runs on musl, as in Alpine: a Node.js for glibc reports the version of glibc. */
function isMusl() {
  process.report.excludeNetwork = true;
  return process.report.getReport().header.glibcVersionRuntime === undefined;
}

/** Runs the executable as a child, and ends as the child does. */
function run(executable, words) {
  const command = [executable, ...words];
  if (process.platform === "linux" && LASTING.includes(words[0])) {
    command.unshift(executable, TIED_WORD, String(process.pid), executable);
  }
  for (const signal of SIGNALS) process.on(signal, () => child.kill(signal));
  const child = spawn(command[0], command.slice(1), { stdio: "inherit" });
  child.on("error", (error) => fail(`Cannot run ${executable}: ${error.message}`));
  child.on("exit", (code, signal) => {
    if (signal === null) process.exit(code);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
    // The first process of a container survives its own signals.
    process.exit(SIGNAL_BASE + osConstants.signals[signal]);
  });
}

function fail(message, hint) {
  process.stderr.write(`walrust: ${message}\n${hint === undefined ? "" : `  ${hint}\n`}`);
  process.exit(1);
}
