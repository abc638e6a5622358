/**
 * PURE: the manual page walrust(1), made from the table of verbs and settings. Equal verbs, version and date
 * make equal bytes.
 */
import type { OptionSpec } from "../../config/settings/option-spec.ts";
import { defaultText, rangeText } from "../../config/settings/option-text.ts";
import { GLOBAL_OPTIONS, keyName, SECTIONS, type Section } from "../../config/settings/options.ts";
import { STORE_OPTIONS } from "../../config/settings/settings.ts";
import { ownVariableOrNull } from "../../config/settings/variables.ts";
import type { EXIT_CODES } from "../../errors.ts";
import type { Verb } from "../shared/verb.ts";
import { bold, entry, example, filled, italic, paragraph, request, roffSentence, roffText } from "./roff.ts";

/** The facts of a manual page. */
export interface Manual {
  readonly verbs: readonly Verb[];
  readonly version: string;
  /** Date of the version, as YYYY-MM-DD; null if it is not known. */
  readonly date: string | null;
}

/** The meaning of each exit code for the program as a whole. */
const EXIT_MEANINGS: Readonly<Record<0 | (typeof EXIT_CODES)[keyof typeof EXIT_CODES], string>> = {
  0: "Success.",
  1: "Any other failure; `verify` found only warnings; `status` found a degraded database.",
  2: "Usage or configuration.",
  3: "A database, or the place of its files.",
  4: "Storage.",
  5: "Integrity: an object is missing or damaged.",
  6: "Nothing to restore, or the point in time is out of range.",
};

/** Files and folders, and their meaning. */
const FILES = [
  [
    "./walrust.toml",
    "Configuration, if `--config` names no other file. It must belong to you or to root, and nobody else " +
      "may be able to write to it.",
  ],
  ["/etc/walrust/walrust.toml", "Configuration of the service that the packages install."],
  [
    ".FILE-walrust/",
    "State and captured files of the database FILE, beside it, if the folder is yours and nobody else can " +
      "write to it.",
  ],
  [
    "$XDG_STATE_HOME/walrust, /var/lib/walrust",
    "State and captured files of all other databases, of a user and of root. `--state-dir` names another " +
      "folder.",
  ],
  ["$XDG_RUNTIME_DIR/walrust, /run/walrust", "Sockets of the running watches, of a user and of root."],
  [
    "PATH.pre-restore-<time>",
    "The file that `restore --force` has replaced. `walrust undo` puts the file back.",
  ],
] as const;

/** Variables that are no settings, and their meaning. */
const VARIABLES = [
  [
    "AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE, AWS_WEB_IDENTITY_TOKEN_FILE, AWS_ROLE_ARN, …",
    "The rest of the chain of credentials of AWS.",
  ],
  ["AWS_CA_BUNDLE, NODE_EXTRA_CA_CERTS", "PEM files of certificate authorities to trust."],
  ["STATE_DIRECTORY, RUNTIME_DIRECTORY", "Folders for state and sockets, as systemd sets them."],
  ["XDG_STATE_HOME, XDG_RUNTIME_DIR", "Folders for state and sockets of a user."],
  ["TMPDIR", "Folder for temporary files of `verify` and `compact`."],
  ["NOTIFY_SOCKET, WATCHDOG_USEC", "Tie to systemd (`Type=notify`)."],
  ["NO_COLOR, TERM", "With `NO_COLOR`, or with `TERM=dumb`, lines take the place of a bar of progress."],
  ["WALRUST_TRACE", "If set, print the stack trace of an internal error."],
] as const;

/** The page as source in the format of man(7). */
export function manPage({ verbs, version, date }: Manual): string {
  return [
    `.\\" Made by \`walrust man\` of walrust ${version}.`,
    ".nr HY 0",
    request("TH", "WALRUST", "1", date ?? "", `walrust ${roffText(version)}`, "walrust manual"),
    // Neither gaps between words nor hyphens: a reader copies names.
    ".ad l",
    request("SH", "NAME"),
    "walrust \\- continuous, verified backup of SQLite databases to object storage",
    request("SH", "SYNOPSIS"),
    `${bold("walrust")} ${italic("VERB")} [${italic("ARGUMENTS")}] [${italic("OPTIONS")}]`,
    ...description(),
    request("SH", "VERBS"),
    ...verbs.flatMap(verbPart),
    request("SH", "OPTIONS OF EVERY VERB"),
    ...Object.values<OptionSpec>(GLOBAL_OPTIONS).flatMap(optionPart),
    request("SH", "OPTIONS OF THE DESTINATION"),
    ...Object.values<OptionSpec>(STORE_OPTIONS)
      .filter(({ flag }) => flag !== undefined)
      .flatMap(optionPart),
    ...configuration(),
    ...environment(),
    request("SH", "FILES"),
    ...FILES.flatMap(([path, meaning]) => entry(italic(path), meaning)),
    request("SH", "EXIT STATUS"),
    ...Object.entries(EXIT_MEANINGS).flatMap(([code, meaning]) => entry(bold(code), meaning)),
    ...entry(
      bold("129, 130, 143"),
      "Stopped by a second SIGHUP, SIGINT or SIGTERM. The first one stops in order.",
    ),
    request("SH", "EXAMPLES"),
    ...firstExamples(verbs),
    request("SH", "SEE ALSO"),
    `${bold("sqlite3")}(1), ${bold("systemd.service")}(5)`,
  ].join("\n");
}

function description(): string[] {
  const [first = "", ...rest] = [
    "walrust keeps a verified, restorable copy of each SQLite database in object storage: in a bucket of " +
      "S3 or of a provider that speaks its protocol, or in a folder.",
    "`walrust watch` runs beside the application, captures each commit from the WAL, and uploads it. " +
      "`walrust restore` makes a database from the copy, of now or of an earlier point in time, and checks " +
      "every byte of it. The format of the objects is LTX: Litestream restores them as well.",
    "Results go to stdout, logs and errors to stderr.",
  ];
  return [request("SH", "DESCRIPTION"), ...filled(roffSentence(first)), ...rest.flatMap(paragraph)];
}

function verbPart(verb: Verb): string[] {
  const { name, aliases = [], usage, summary, positionals, exitCodes, examples } = verb;
  const own = verb.options.flatMap((group) => Object.values(group));
  // A verb with the options of a watch: CONFIGURATION has all of them.
  const isSetting = own.some(({ key }) => key === "sync.snapshot_interval");
  const shown = own.filter(({ key, flag, isHidden }) => {
    const isElsewhere = key?.startsWith("s3.") === true || (isSetting && key !== undefined);
    return flag !== undefined && isHidden !== true && !isElsewhere;
  });
  const alias = aliases.length === 0 ? "" : ` Another name of the verb is ${aliases.map(coded).join(", ")}.`;
  const takes = isSetting ? ` ${coded(name)} takes every flag of CONFIGURATION.` : "";
  return [
    request("SS", name),
    ...filled(`${bold(`walrust ${name}`)} ${roffText(usage)}`.trimEnd()),
    ...paragraph(`${summary}.${alias}${takes}`),
    ...(positionals.max === 0 ? [] : entry(italic(positionals.name), `${positionals.meaning}.`)),
    ...shown.flatMap(optionPart),
    ...example(examples.flatMap(([command, meaning]) => [`# ${meaning}`, command])),
    ...paragraph("Exit codes:"),
    ...exitCodes.flatMap(([code, meaning]) => entry(bold(String(code)), `${meaning}.`)),
  ];
}

function optionPart(spec: OptionSpec): string[] {
  return entry(flagTag(spec), `${spec.flagMeaning ?? spec.meaning}.${limits(spec)}`);
}

function flagTag({ flag, alias, value, bare }: OptionSpec): string {
  const short = alias === undefined ? "" : `${bold(`-${alias}`)}, `;
  const shown = value === undefined ? "" : bare === undefined ? ` ${italic(value)}` : `[=${italic(value)}]`;
  return `${short}${bold(`--${flag}`)}${shown}`;
}

/** The range and the default of an option, as sentences. */
function limits(spec: OptionSpec): string {
  const isBare = spec.kind === "switch" && spec.value === undefined;
  const range = spec.kind === "switch" ? null : rangeText(spec);
  const shown = isBare ? null : defaultText(spec);
  const rangePart = range === null ? "" : ` Range: ${range}.`;
  return `${rangePart}${shown === null || shown === "" ? "" : ` Default: ${shown}.`}`;
}

function configuration(): string[] {
  return [
    request("SH", "CONFIGURATION"),
    ...filled(
      roffSentence(
        "A setting takes its value from the first of these sources that gives one: a flag, a variable of " +
          "the environment, the entry of the database in `[[databases]]` of walrust.toml, the section of " +
          "walrust.toml, the default. `walrust explain` prints every value with its source.",
      ),
    ),
    ...paragraph(
      `A \`$\{VAR}\` in a text of walrust.toml stands for the variable of the environment. A secret has a ` +
        "second key that ends in `_file` and names a file with the secret.",
    ),
    ...SECTIONS.flatMap(sectionPart),
  ];
}

function sectionPart({ name, meaning, isList, isPerDatabase, options }: Section): string[] {
  const title = isList ? `[[${name}]]` : `[${name}]`;
  const where = isPerDatabase ? " An entry of `[[databases]]` may set these keys for its databases." : "";
  return [
    request("SS", title),
    ...filled(roffSentence(`${meaning.charAt(0).toUpperCase()}${meaning.slice(1)}.${where}`)),
    ...Object.values(options).flatMap((spec) => {
      const secret = spec.isSecret ? `, ${bold(`${keyName(spec)}_file`)}` : "";
      const flag = spec.flag === undefined ? "" : ` (${bold(`--${spec.flag}`)})`;
      const shown = defaultText(spec);
      const range = rangeText(spec);
      const rest =
        (range === null ? "" : ` Range: ${range}.`) +
        (shown === null || shown === "" ? "" : ` Default: ${shown}.`);
      return entry(`${bold(keyName(spec))}${secret}${flag}`, `${spec.meaning}.${rest}`);
    }),
  ];
}

function environment(): string[] {
  const others = SECTIONS.flatMap(({ options }) => Object.values(options)).flatMap((spec) =>
    spec.env === undefined ? [] : [[spec.env.join(", "), ownVariableOrNull(spec)!] as const],
  );
  return [
    request("SH", "ENVIRONMENT"),
    ...entry(
      `${bold("WALRUST_")}${italic("SECTION")}${bold("_")}${italic("KEY")}`,
      "The key of a section of walrust.toml: `WALRUST_SYNC_SNAPSHOT_INTERVAL` is `snapshot_interval` of " +
        "`[sync]`. A variable that ends in `_FILE` names the file of a secret. An empty variable is not set.",
    ),
    ...others.flatMap(([names, own]) => entry(bold(names), `As ${coded(own)}, which counts before it.`)),
    ...VARIABLES.flatMap(([names, meaning]) => entry(bold(names), meaning)),
  ];
}

/** The first example of the verbs of a first day. */
function firstExamples(verbs: readonly Verb[]): string[] {
  const named = ["watch", "status", "list", "verify", "restore"];
  const shown = named.flatMap((name) => verbs.find((verb) => verb.name === name)?.examples.slice(0, 2) ?? []);
  const lines = shown.flatMap(([command, meaning]) => [`# ${meaning}`, command]);
  // A section begins with text: a paragraph there would be empty.
  return example(lines).slice(1);
}

function coded(text: string): string {
  return `\`${text}\``;
}
