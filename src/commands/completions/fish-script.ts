/**
 * PURE: the completions for fish, for a folder of `$fish_complete_path` or to be read by a shell. fish itself
 * reads `--flag=value` and quotes what it inserts.
 */
import {
  type CompletedFlag,
  type CompletedProgram,
  type CompletedVerb,
  type FlagCase,
  flagCases,
} from "./completion-model.ts";
import { NAMES_WORD } from "./database-names.ts";

/** The script. */
export function fishScript(program: CompletedProgram, version: string): string {
  const { verbs, flags } = program;
  const verbLines = [
    ...verbs.flatMap(({ names, summary }) =>
      names.map((name) => offer("__walrust_has_no_verb", ["-a", quoted(name), "-d", quoted(summary)])),
    ),
    offer("__walrust_has_no_verb", ["-a", "help", "-d", quoted("Show the help of a verb")]),
    offer("__walrust_expects help 1", [
      "-a",
      quoted(verbs.flatMap(({ names }) => names).join(" ")),
      "-d",
      "verb",
    ]),
    ...flags.map(({ names, meaning }) =>
      offer("__walrust_has_no_verb", [...nameWords(names), "-d", quoted(meaning)]),
    ),
  ];
  return `# Completions of walrust ${version} for fish, made by \`walrust completions fish\`.

# The flags of a verb that take the next word as their value: VERB FLAG.
function __walrust_takes_value
    switch "$argv"
${flagCases(program).map(valueCase).join("\n")}
    end
    return 1
end
${FUNCTIONS.trimEnd()}

complete -c walrust -f
${[...verbLines, ...verbs.flatMap(linesOf)].join("\n")}`;
}

function linesOf({ names, flags, operand }: CompletedVerb): string[] {
  const verb = quoted(names.join(" "));
  const lines = flags.flatMap((flag) => flagLines(flag, verb));
  if (operand === null || operand.kind === "free") return lines;
  const most = Number.isFinite(operand.max) ? operand.max : 1_000_000;
  return [...lines, offer(`__walrust_expects ${verb} ${most}`, valueWords(operand, false))];
}

function flagLines(flag: CompletedFlag, verb: string): string[] {
  const { names, takes, meaning, isRepeated } = flag;
  const test = takes === "value" ? "__walrust_open" : "__walrust_lacks";
  const condition = isRepeated ? `__walrust_lacks ${verb}` : `${test} ${verb} ${names.join(" ")}`;
  const value = takes === "none" ? [] : valueWords(flag, takes === "value");
  const line = offer(condition, [...nameWords(names), ...value, "-d", quoted(meaning)]);
  if (takes !== "optional") return [line];
  const after = `__walrust_follows ${verb} ${names.join(" ")}`;
  return [line, offer(after, ["-a", quoted(flag.choices.join(" "))])];
}

function nameWords(names: readonly string[]): string[] {
  return names.flatMap((name) => (name.startsWith("--") ? ["-l", name.slice(2)] : ["-s", name.slice(1)]));
}

function valueWords({ kind, choices }: Pick<CompletedFlag, "kind" | "choices">, isNeeded: boolean): string[] {
  const needed = isNeeded ? ["-r"] : [];
  switch (kind) {
    case "choice":
      return [...needed, "-f", "-a", quoted(choices.join(" "))];
    case "file":
      return [...needed, "-F"];
    case "folder":
      return [...needed, "-f", "-a", quoted("(__walrust_folders)")];
    case "name":
      return [...needed, "-f", "-a", quoted("(__walrust_names)")];
    case "destination":
      return [...needed, "-f", "-a", quoted("(__walrust_destinations)")];
    default:
      return [...needed, "-f"];
  }
}

function valueCase({ verbs, names, takes }: FlagCase): string {
  const patterns = names.flatMap((name) => (verbs ?? ["*"]).map((verb) => quoted(`${verb} ${name}`)));
  return `        case ${patterns.join(" ")}\n            return ${takes === "value" ? 0 : 1}`;
}

function offer(condition: string, words: readonly string[]): string {
  return `complete -c walrust -n ${quoted(condition)} ${words.join(" ")}`;
}

/** A text as one word of fish. */
function quoted(text: string): string {
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;
}

const FUNCTIONS = `
# The words before the one at the cursor, without the program and variables before it.
function __walrust_words
    set -l words (commandline -opc)
    while string match -qr '^\\w+=' -- "$words[1]"
        set -e words[1]
    end
    set -e words[1]
    test (count $words) -eq 0; or printf '%s\\n' $words
end

function __walrust_has_no_verb
    set -l words (__walrust_words)
    test (count $words) -eq 0
end

# Whether the line has this verb, and none of these flags: VERB FLAG...
function __walrust_lacks
    set -l words (__walrust_words)
    contains -- "$words[1]" (string split ' ' $argv[1]); or return 1
    for flag in $argv[2..-1]
        string match -qr -- "^$flag(=|\\$)" $words; and return 1
    end
    return 0
end

# As __walrust_lacks, but the last word may be such a flag: the word at the cursor is its value then.
function __walrust_open
    set -l words (__walrust_words)
    contains -- "$words[1]" (string split ' ' $argv[1]); or return 1
    set words[-1] ''
    for flag in $argv[2..-1]
        string match -qr -- "^$flag(=|\\$)" $words; and return 1
    end
    return 0
end

# Whether the line has this verb, and its last word is one of these flags: VERB FLAG...
function __walrust_follows
    set -l words (__walrust_words)
    contains -- "$words[1]" (string split ' ' $argv[1]); and contains -- "$words[-1]" $argv[2..-1]
end

# Whether the word at the cursor is one of the first N words without a flag: VERB N
function __walrust_expects
    set -l words (__walrust_words)
    set -l verb $words[1]
    contains -- "$verb" (string split ' ' $argv[1]); or return 1
    set -l count 0
    set -l is_value 0
    set -l is_ended 0
    for word in $words[2..-1]
        if test $is_value -eq 1
            set is_value 0
        else if test $is_ended -eq 1
            set count (math $count + 1)
        else if test "$word" = --
            set is_ended 1
        else if string match -qr '^-.' -- "$word"
            __walrust_takes_value $verb "$word"; and set is_value 1
        else
            set count (math $count + 1)
        end
    end
    test $is_value -eq 0 -a $count -lt $argv[2]; or return 1
    # A flag is typed: its completion asks for no names.
    test $is_ended -eq 1; or not string match -q -- '-*' (commandline -ct)
end

# The value at the cursor, without \`--flag=\`.
function __walrust_value
    string replace -r '^--?[a-z-]+=' '' -- (commandline -ct)
end

function __walrust_names
    set -l program (commandline -opc)
    while string match -qr '^\\w+=' -- "$program[1]"
        set -e program[1]
    end
    set -l typed (string unescape -- (__walrust_value); or __walrust_value)
    command -q -- $program[1]; or set program[1] walrust
    command $program[1] ${NAMES_WORD} "$typed" $program[2..-1] 2>/dev/null </dev/null
end

function __walrust_folders
    __fish_complete_directories (__walrust_value) folder
end

function __walrust_destinations
    set -l value (__walrust_value)
    if string match -q 'file://*' -- $value
        set value (string replace 'file://' '' -- $value)
        string replace -r '^' 'file://' -- (__fish_complete_directories $value folder)
    else
        printf '%s\\n' s3:// file:///
    end
end
`;
