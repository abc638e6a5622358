/** The output on stdout and stderr, and its format, from a process of its own. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { formatBytes } from "../../../src/commands/shared/output.ts";

const OUTPUT = join(import.meta.dir, "../../../src/commands/shared/output.ts");
const ERRORS = join(import.meta.dir, "../../../src/errors.ts");

async function run(code: string): Promise<{ stdout: string[]; stderr: string[] }> {
  const script = `import * as output from ${JSON.stringify(OUTPUT)};
import { WalrustError } from ${JSON.stringify(ERRORS)};
${code}`;
  const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  const lines = (text: string): string[] => (text === "" ? [] : text.replace(/\n$/, "").split("\n"));
  return { stdout: lines(stdout), stderr: lines(stderr) };
}

const LOG_ALL = `for (const level of ["debug", "info", "warn", "error"]) {
  log[level](level + " message", { database: "app", txid: 7, hint: "do this", none: undefined });
}
log.info("bare");`;

const TIME = String.raw`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`;

describe("createLog", () => {
  test("createLog text: time, severity except info, database, facts, hint; all on stderr", async () => {
    const { stdout, stderr } = await run(`const log = output.createLog("debug", "text");${LOG_ALL}`);
    expect(stdout).toEqual([]);
    const lines = ["DEBUG app: debug", "app: info", "WARN app: warn", "ERROR app: error"];
    const expected = lines.map((line) => `${line} message txid=7`);
    expect(stderr.length).toBe(5);
    for (const [index, text] of expected.entries()) {
      expect(stderr[index]).toMatch(new RegExp(`${TIME} ${text} \\(do this\\)$`));
    }
    expect(stderr[4]).toMatch(new RegExp(`${TIME} bare$`));
  });

  test("createLog json: one document a line", async () => {
    const { stdout, stderr } = await run(`const log = output.createLog("info", "json");${LOG_ALL}`);
    expect(stdout).toEqual([]);
    const lines = stderr.map((line) => JSON.parse(line));
    expect(lines.map(({ level }) => level)).toEqual(["info", "warn", "error", "info"]);
    expect(lines[1]).toMatchObject({ message: "warn message", database: "app", txid: 7, hint: "do this" });
    for (const { time } of lines) expect(time).toMatch(new RegExp(`${TIME}$`));
  });

  test.each([
    ["debug", 5],
    ["info", 4],
    ["warn", 2],
    ["error", 1],
  ] as const)("createLog %s writes %p of five lines", async (level, count) => {
    const { stderr } = await run(`const log = output.createLog("${level}", "text");${LOG_ALL}`);
    expect(stderr.length).toBe(count);
  });

  test("createLog drops no repeated line", async () => {
    const { stderr } = await run(
      `const log = output.createLog("info", "text"); for (let i = 0; i < 50; i++) log.info("same");`,
    );
    expect(stderr.length).toBe(50);
  });
});

/** Characters that could break a line, forge another or move the cursor. */
const NASTY = "a\nb\r\tc\u001b[31md\u0085e\u2028f\u202eg\u0000";
const NASTY_SHOWN = String.raw`a\nb\x0d\x09c\x1b[31md\x85e\u2028f\u202eg\x00`;

describe("lines of the log", () => {
  const LOG_NASTY = `const nasty = ${JSON.stringify(NASTY)};
log.warn(nasty, { database: nasty, path: nasty, hint: nasty });`;

  test("createLog text keeps every event on one line, for any name and message", async () => {
    const { stderr } = await run(`const log = output.createLog("info", "text");${LOG_NASTY}`);
    const n = NASTY_SHOWN;
    expect(stderr.map((line) => line.slice(line.indexOf(" ") + 1))).toEqual([
      `WARN ${n}: ${n} path=${n} (${n})`,
    ]);
  });

  test("createLog json keeps every event on one line, with the text unchanged", async () => {
    const { stderr } = await run(`const log = output.createLog("info", "json");${LOG_NASTY}`);
    expect(stderr.length).toBe(1);
    expect(JSON.parse(stderr[0]!)).toMatchObject({
      level: "warn",
      message: NASTY,
      database: NASTY,
      hint: NASTY,
    });
  });

  test("createLog json lets no fact replace time, level or message", async () => {
    const { stderr } = await run(`const log = output.createLog("info", "json");
log.info("true", { level: "error", time: "never", message: "false", txid: 3 });`);
    expect(JSON.parse(stderr[0]!)).toEqual({
      time: expect.stringMatching(new RegExp(`${TIME}$`)),
      level: "info",
      message: "true",
      txid: 3,
    });
  });

  test("printLine and printError keep to one line, printText to its own", async () => {
    const { stdout, stderr } = await run(`const nasty = ${JSON.stringify(NASTY)};
output.printLine(nasty); output.printText("one\\ntwo\\u001b[2J");
output.printError(new WalrustError("config", nasty, { hint: nasty }), false);`);
    expect(stdout).toEqual([NASTY_SHOWN, "one", String.raw`two\x1b[2J`]);
    expect(stderr).toEqual([`walrust: ${NASTY_SHOWN}`, `  ${NASTY_SHOWN}`]);
  });

  test("no document or event holds a raw control character, C1 ones included", async () => {
    const { stdout, stderr } = await run(`const nasty = ${JSON.stringify(NASTY)};
const log = output.createLog("info", "json"); log.warn(nasty, { database: nasty });
output.printJson({ nasty }); output.printEvent({ nasty }, log);
output.printError(new WalrustError("config", nasty, { hint: nasty, context: { nasty } }), true);
output.printTrace(new Error(nasty));`);
    const lines = [...stdout, ...stderr];
    expect(lines.length).toBeGreaterThan(6);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the pattern matches the forbidden characters
    for (const line of lines) expect(line).not.toMatch(/[\0-\x1f\x7f-\x9f\u2028-\u202e]/);
    for (const line of stdout.slice(0, 2)) expect(JSON.parse(line)).toEqual({ nasty: NASTY });
  });
});

describe("printEvent", () => {
  const EVENTS = `const log = output.createLog("info", "text");
const event = { text: "x".repeat(1024 * 1024) };
for (let i = 0; i < 64; i++) output.printEvent(event, log);`;

  /** Runs code with its output redirected by a shell. */
  async function runRedirected(
    code: string,
    redirection: string,
  ): Promise<{ stdout: string; stderr: string }> {
    const script = `import * as output from ${JSON.stringify(OUTPUT)};\n${code}`;
    const words = ["bash", "-c", `"$@" ${redirection}`, "bash", process.execPath, "-e", script];
    const child = Bun.spawn(words, { stdout: "pipe", stderr: "pipe" });
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    return { stdout, stderr };
  }

  test("printEvent drops events that nobody reads, and logs that once", async () => {
    const code = `${EVENTS} await output.flushOutput();`;
    const { stdout, stderr } = await runRedirected(code, "| { sleep 1; wc -c; }");
    const written = Number(stdout) / (1024 * 1024);
    expect(written).toBeGreaterThan(7);
    expect(written).toBeLessThan(12);
    expect(stderr.trimEnd().split("\n")).toEqual([expect.stringContaining("WARN cannot write events")]);
  });

  test("printEvent continues when the disk is full, and logs that once", async () => {
    const { stderr } = await runRedirected(
      `${EVENTS.replace("64", "3")} await output.flushOutput();`,
      "> /dev/full",
    );
    expect(stderr.trimEnd().split("\n")).toEqual([expect.stringContaining("to stdout: ENOSPC")]);
  });

  test("results are never dropped, however slow the reader", async () => {
    const code = `for (let i = 0; i < 24; i++) output.printJson("x".repeat(1024 * 1024 - 3));
await output.flushOutput(); if (output.outputFailure() !== null) throw output.outputFailure();`;
    const { stdout, stderr } = await runRedirected(code, "| { sleep 0.1; wc -c; }");
    expect([Number(stdout), stderr]).toEqual([24 * 1024 * 1024, ""]);
  });

  test("outputFailure names the cause of lost results, unless the reader left", async () => {
    const code = `output.printLine("x".repeat(200_000)); await output.flushOutput();
output.createLog("info", "text").info("failure " + output.outputFailure());`;
    expect((await runRedirected(code, "> /dev/full")).stderr).toContain("failure ENOSPC");
    expect((await runRedirected(code, "| true")).stderr).toContain("failure null");
  });
});

describe("printError", () => {
  const FAIL = `const details = { hint: "look", context: { txid: 3 } };
const error = new WalrustError("integrity", "it is damaged", details);`;

  test("printError writes message and hint to stderr, and nothing to stdout", async () => {
    const { stdout, stderr } = await run(`${FAIL} output.printError(error, false);`);
    expect([stdout, stderr]).toEqual([[], ["walrust: it is damaged", "  look"]]);
  });

  test("printError with JSON writes one document with code, exit, message, hint and context", async () => {
    const { stdout } = await run(`${FAIL} output.printError(error, true);`);
    expect(stdout.map((line) => JSON.parse(line))).toEqual([
      { error: { code: "integrity", exit: 5, message: "it is damaged", hint: "look", context: { txid: 3 } } },
    ]);
  });
});

describe("formatBytes", () => {
  test.each([
    [0, "0 B"],
    [1023, "1023 B"],
    [1024, "1.00 KB"],
    [1536, "1.50 KB"],
    [102_400, "100 KB"],
    [1_048_576, "1.00 MB"],
    [5 * 1024 ** 3, "5.00 GB"],
    [3000 * 1024 ** 4, "3000 TB"],
  ] as const)("formatBytes of %p is %p", (byteCount, text) => {
    expect(formatBytes(byteCount)).toBe(text);
  });
});
