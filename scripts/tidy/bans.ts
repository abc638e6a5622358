/**
 * Banned code and comments, with the replacement of each. A row is one ban. The `match` of a code ban sees
 * dotted names (`Date.now`) and short descriptions of syntax (`as any`), never strings or comments.
 */
import {
  isAsExpression,
  isCallExpression,
  isIdentifier,
  isImportDeclaration,
  isNewExpression,
  isPropertyAccessExpression,
  isStringLiteral,
  type Node,
  SyntaxKind,
} from "typescript/unstable/ast";
import { findComments, lineAt, type ParsedFile, walk } from "./syntax.ts";
import type { Violation } from "./violations.ts";

interface Ban {
  readonly rule: string;
  readonly match: RegExp;
  readonly isAllowedIn: (path: string) => boolean;
  readonly instead: string;
}

const inSource = (path: string): boolean => path.startsWith("src/");
const inTests = (path: string): boolean => path.startsWith("test/");
const inTestSupport = (path: string): boolean => path.startsWith("test/support/");
/** The page of the dashboard has no env: one file is its seam to time. */
const PAGE_CLOCK = "src/observability/dashboard/browser/clock.ts";
const nowhere = (): boolean => false;
const sourceOnlyIn =
  (...paths: string[]) =>
  (path: string): boolean =>
    !inSource(path) || paths.includes(path);

const CODE_BANS: readonly Ban[] = [
  {
    rule: "clock",
    match: /^(Date\.now|new Date\(\)|performance\.now|Bun\.nanoseconds|process\.hrtime)$/,
    isAllowedIn: sourceOnlyIn("src/env.ts", PAGE_CLOCK),
    instead: "env.nowMs() or env.monotonicMs()",
  },
  {
    rule: "random",
    match: /^(Math\.random|crypto\.(getRandomValues|randomUUID|randomBytes)|randomBytes|randomUUID)$/,
    isAllowedIn: sourceOnlyIn("src/env.ts"),
    instead: "env.random() or env.randomBytes()",
  },
  {
    rule: "timer",
    match:
      /^(set(Timeout|Interval|Immediate)|Bun\.sleep(Sync)?|Atomics\.wait|from (node:)?timers(\/promises)?)$/,
    isAllowedIn: sourceOnlyIn("src/env.ts", PAGE_CLOCK),
    instead: "env.sleep(), env.sleepSync() or env.turn()",
  },
  {
    rule: "test-sleep",
    match:
      /^(setTimeout|setInterval|Bun\.sleep|Bun\.sleepSync|Atomics\.wait|from (node:)?timers(\/promises)?)$/,
    isAllowedIn: (path) => !inTests(path) || inTestSupport(path),
    instead: "a wait on a condition from test/support, or a fake clock",
  },
  {
    rule: "exit",
    match: /^process\.(exit|reallyExit|abort|kill|on|once|addListener)$/,
    isAllowedIn: sourceOnlyIn("src/main.ts"),
    instead: "throw a WalrustError; only main.ts exits and handles signals",
  },
  {
    rule: "output",
    match: /^(console\.\w+|process\.stdout|Bun\.stdout)$/,
    isAllowedIn: sourceOnlyIn("src/commands/shared/output.ts"),
    instead: "env.log, or commands/output.ts for results",
  },
  {
    rule: "any",
    match: /^as any$/,
    isAllowedIn: nowhere,
    instead: "unknown and a check, or the right type",
  },
  {
    rule: "partial-tests",
    match: /^(test|it|describe)(\.\w+)*\.(only|todo|skip)$/,
    isAllowedIn: (path) => path === "test/support/servers/peers.ts",
    instead: "the test itself, or testWith(peer) when it needs another program",
  },
];

const COMMENT_BANS: readonly Ban[] = [
  {
    rule: "ts-ignore",
    match: /@ts-(ignore|nocheck)/,
    isAllowedIn: nowhere,
    instead: "the right type, or @ts-expect-error with the reason",
  },
  {
    rule: "to-do",
    match: /\b(TODO|FIXME|XXX)\b/,
    isAllowedIn: nowhere,
    instead: "do it, or open an issue",
  },
];

/** All banned code and comments in these files. */
export function banViolations(files: readonly ParsedFile[]): Violation[] {
  return files.flatMap((file) => [...codeViolations(file), ...commentViolations(file)]);
}

function codeViolations({ path, tree }: ParsedFile): Violation[] {
  const bans = CODE_BANS.filter((ban) => !ban.isAllowedIn(path));
  const violations: Violation[] = [];
  walk(tree, (node) => {
    const name = describeCode(node);
    if (name === null) return;
    for (const { rule, match, instead } of bans) {
      if (!match.test(name)) continue;
      const line = lineAt(tree, node.getStart(tree));
      violations.push({ path, line, rule, message: `${name}: use ${instead}` });
    }
  });
  return violations;
}

function commentViolations({ path, tree }: ParsedFile): Violation[] {
  const violations: Violation[] = [];
  for (const { text, offset } of findComments(tree)) {
    for (const { rule, match, instead } of COMMENT_BANS) {
      const found = text.match(match);
      if (found === null) continue;
      const line = lineAt(tree, offset + (found.index ?? 0));
      violations.push({ path, line, rule, message: `${found[0]}: ${instead}` });
    }
  }
  return violations;
}

/** The dotted name or short description that the bans match, or null for code that no ban concerns. */
function describeCode(node: Node): string | null {
  if (isPropertyAccessExpression(node)) return dottedName(node);
  if (isCallExpression(node) && isIdentifier(node.expression)) return node.expression.text;
  if (isAsExpression(node) && node.type.kind === SyntaxKind.AnyKeyword) return "as any";
  if (isImportDeclaration(node) && isStringLiteral(node.moduleSpecifier)) {
    return `from ${node.moduleSpecifier.text}`;
  }
  if (!isNewExpression(node) || !isIdentifier(node.expression)) return null;
  return `new ${node.expression.text}(${(node.arguments?.length ?? 0) === 0 ? "" : "…"})`;
}

function dottedName(node: Node): string | null {
  if (isIdentifier(node)) return node.text;
  if (!isPropertyAccessExpression(node)) return null;
  const left = dottedName(node.expression);
  if (left === null) return null;
  return `${left.replace(/^globalThis\./, "")}.${node.name.text}`;
}
