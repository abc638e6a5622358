/**
 * Statements of another process that run while this process stands still: between two steps of walrust's own
 * synchronous work. Each run is a short process with one connection.
 */

const SCRIPT = `const { Database } = require("bun:sqlite");
const [path, json] = process.argv.slice(1);
const database = new Database(path);
const answers = JSON.parse(json).map((sql) => {
  try {
    return JSON.stringify(database.query(sql).values());
  } catch (error) {
    return error.code ?? String(error);
  }
});
database.close();
console.log(JSON.stringify(answers));`;

/** Runs each statement, whatever became of the one before. @returns the rows as JSON, or SQLite's code */
export function runOutside(path: string, ...statements: string[]): string[] {
  const words = [process.execPath, "-e", SCRIPT, path, JSON.stringify(statements)];
  const { exitCode, stdout, stderr } = Bun.spawnSync(words);
  if (exitCode !== 0) throw new Error(`the outside process failed: ${stderr}`);
  return JSON.parse(stdout.toString()) as string[];
}
