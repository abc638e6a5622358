/** What goes to stdout and to stderr, and how it looks: run in a process of its own. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { formatBytes } from "../../src/commands/output.ts";

const OUTPUT = join(import.meta.dir, "../../src/commands/output.ts");
const ERRORS = join(import.meta.dir, "../../src/errors.ts");

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
  test("createLog text: time, severity but for info, database, facts, hint; all on stderr", async () => {
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
  ] as const)("createLog %s lets %p of five lines through", async (level, count) => {
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

describe("printError", () => {
  const FAIL = `const details = { hint: "look", context: { txid: 3 } };
const error = new WalrustError("integrity", "it is damaged", details);`;

  test("printError says message and hint on stderr, and nothing on stdout", async () => {
    const { stdout, stderr } = await run(`${FAIL} output.printError(error, false);`);
    expect([stdout, stderr]).toEqual([[], ["walrust: it is damaged", "  look"]]);
  });

  test("printError with JSON gives one document with code, exit, message, hint and context", async () => {
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
