/**
 * A watch that starts an application (`--exec`), beside a folder with its database and its log.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../eventually.ts";
import type { RunOptions } from "../processes/binary.ts";
import { WatchProcess } from "../processes/watch-process.ts";
import { fileDestination } from "../servers/destinations.ts";
import { tempFolder } from "../temp.ts";

const APPLICATION = join(import.meta.dir, "exec-app-main.ts");

/** The folder of an application and its destination. */
export class ExecRun {
  readonly folder = tempFolder("exec");
  readonly path = join(this.folder, "app.db");
  readonly log = join(this.folder, "app.log");
  readonly destination = fileDestination();

  /** The value of `--exec`. @param action as exec-app-main.ts takes it */
  command(...action: readonly string[]): string {
    return [process.execPath, APPLICATION, this.path, this.log, ...action].join(" ");
  }

  /** Starts a watch with the application. */
  watch(
    action: readonly string[] = [],
    words: readonly string[] = [],
    options: RunOptions = {},
  ): Promise<WatchProcess> {
    const exec = ["--exec", this.command(...action)];
    return WatchProcess.start([this.path, ...this.destination.words, ...exec, ...words], options);
  }

  /** The lines of the application without their times. */
  get lines(): string[] {
    return this.#entries.map(({ line }) => line);
  }

  /** When the application wrote a line, in ms since the epoch. */
  timeOf(line: string): number {
    return this.#entries.find((entry) => entry.line === line)?.timeMs ?? Number.NaN;
  }

  get #entries(): { timeMs: number; line: string }[] {
    if (!existsSync(this.log)) return [];
    const lines = readFileSync(this.log, "utf8").trimEnd().split("\n");
    return lines.map((line) => ({
      timeMs: Number.parseInt(line, 10),
      line: line.slice(line.indexOf(" ") + 1),
    }));
  }

  /** Waits until the application has written a line. */
  async wrote(line: string): Promise<void> {
    await eventually(`the line ${line}`, async () => this.lines.includes(line), 20_000);
  }
}
