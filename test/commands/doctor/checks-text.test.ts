/** The text of `walrust doctor`, and the exit code of all checks. */
import { expect, test } from "bun:test";
import { Checks, exitCodeOf } from "../../../src/commands/doctor/check.ts";
import { checkLines } from "../../../src/commands/doctor/checks-text.ts";
import { WalrustError } from "../../../src/errors.ts";

function sound(path: string): Checks {
  const checks = new Checks("database", path);
  checks.ok("mode", "WAL mode");
  checks.ok("file-system", "ext4");
  return checks;
}

test("what is well is one line for each subject, and what is not has its remedy below", () => {
  const destination = new Checks("destination", "s3://bucket");
  destination.ok("reach", "it answers");
  destination.warning("clock", "the clock is off", "Set the clock");
  destination.failure("put", new WalrustError("auth", "access denied"));
  expect(checkLines([...destination.all, ...sound("/srv/app.db").all])).toEqual([
    "Destination s3://bucket",
    "  ok       it answers",
    "  failure  access denied",
    "           → Check the credentials and their permissions in the store",
    "  warning  the clock is off",
    "           → Set the clock",
    "Database /srv/app.db",
    "  ok       WAL mode; ext4",
    "5 checks: 1 failure, 1 warning.",
  ]);
});

test("many sound databases are counted, and one with a problem is shown", () => {
  const all = Array.from({ length: 500 }, (_, index) => sound(`/srv/${index}.db`));
  all[77]!.warning("space", "little space", "Free some");
  const lines = checkLines(all.flatMap((checks) => checks.all));
  expect(lines).toEqual([
    "Database /srv/77.db",
    "  ok       WAL mode; ext4",
    "  warning  little space",
    "           → Free some",
    "499 databases: nothing to report; --all lists them",
    "1001 checks: 0 failures, 1 warning.",
  ]);
  expect(checkLines(sound("/srv/app.db").all).at(-1)).toBe("All 2 checks passed.");
  expect(
    checkLines(
      all.flatMap((checks) => checks.all),
      true,
    ),
  ).toHaveLength(1003);
});

test("databases with the same problem are one entry, and the worst entries come first", () => {
  const all = Array.from({ length: 20 }, (_, index) => sound(`/srv/${index}.db`));
  for (const checks of all) checks.warning("sqlite-version", `by ${checks.subject}: a bug`, "Update");
  const gone = `Look at ${all[7]!.subject}-wal`;
  all[7]!.failure("replication", new WalrustError("foreign-wal", "a foreign WAL", { hint: gone }));
  const machine = new Checks("machine", null);
  machine.ok("locks", "there are locks");
  const lines = checkLines([...machine.all, ...all.flatMap((checks) => checks.all)]);
  expect(lines).toEqual([
    "Database /srv/7.db",
    "  ok       WAL mode; ext4",
    "  failure  a foreign WAL",
    "           → Look at /srv/7.db-wal",
    "  warning  by /srv/7.db: a bug",
    "           → Update",
    "19 databases: /srv/0.db, /srv/1.db, /srv/2.db, /srv/3.db, /srv/4.db and 14 more",
    "  warning  by /srv/0.db: a bug",
    "           → Update",
    "This machine",
    "  ok       there are locks",
    "62 checks: 1 failure, 20 warnings.",
  ]);
});

test("exitCodeOf is the highest exit code of a failure, and 0 for warnings", () => {
  const checks = new Checks("database", null);
  checks.warning("a", "m", "h");
  expect(exitCodeOf(checks.all)).toBe(0);
  checks.failure("b", new WalrustError("config", "m"));
  expect(exitCodeOf(checks.all)).toBe(2);
  checks.failure("c", new WalrustError("storage", "m"));
  checks.failure("d", new WalrustError("database", "m"));
  expect(exitCodeOf(checks.all)).toBe(4);
});
