/**
 * PURE: the completions for zsh, for a folder of `$fpath` (as `_walrust`) or to be read by a shell that has
 * run `compinit`. zsh itself leaves out flags that are given, reads `--flag=value`, and quotes what it
 * inserts.
 */
import type { CompletedFlag, CompletedProgram, CompletedValue, CompletedVerb } from "./completion-model.ts";
import { NAMES_WORD } from "./database-names.ts";

/** The script. */
export function zshScript(program: CompletedProgram, version: string): string {
  const verbs = program.verbs.flatMap(({ names, summary }) => names.map((name) => `${name}:${summary}`));
  return `#compdef walrust
# Completions of walrust ${version} for zsh, made by \`walrust completions zsh\`.

_walrust_verbs() {
  local -a verbs=(
${[...verbs, "help:Show the help of a verb"].map((verb) => `    ${quoted(verb)}`).join("\n")}
  )
  _describe -t verbs verb verbs
}

# Names of databases in the destination of the line typed so far.
_walrust_names() {
  local -a names question=(${NAMES_WORD} "\${(Q)PREFIX}" "\${(@Q)_walrust_typed}")
  names=("\${(@f)$("$_walrust_program" "\${(@)question}" 2>/dev/null </dev/null)}")
  names=("\${(@)names:#}")
  local expl
  _wanted databases expl database compadd -a names
}

_walrust_destinations() {
  local expl
  if compset -P 'file://'; then
    _wanted folders expl folder _path_files -/
  else
    _wanted destinations expl destination compadd -S '' s3:// file:///
  fi
}

_walrust() {
  local curcontext=$curcontext state state_descr line ret=1
  local -A opt_args
  local _walrust_program=\${(Q)words[1]}
  [[ $_walrust_program == '~/'* ]] && _walrust_program=$HOME/\${_walrust_program#'~/'}
  whence -p -- "$_walrust_program" >/dev/null || _walrust_program=walrust
  local -a _walrust_typed=("\${(@)words[2,CURRENT-1]}")
  _arguments -C -A '-*' \\
${program.flags.map((flag) => `${flagSpecs(flag, "- *").join(" \\\n")} \\`).join("\n")}
    '1: :_walrust_verbs' \\
    '*:: :->words' && ret=0
  [[ $state == words ]] || return ret
  curcontext="\${curcontext%:*:*}:walrust-$line[1]:"
  case $line[1] in
${program.verbs.map(verbCase).join("\n")}
    (help) _arguments '1: :_walrust_verbs' && ret=0 ;;
  esac
  return ret
}

# Read by a shell, the file defines the functions; found in $fpath, its first use completes as well.
if [[ $funcstack[1] == _walrust ]]; then
  _walrust "$@"
elif (( $+functions[compdef] )); then
  compdef _walrust walrust
fi`;
}

function verbCase({ names, flags, operand }: CompletedVerb): string {
  const specs = flags.flatMap((flag) => flagSpecs(flag, flag.names.join(" ")));
  if (operand !== null) {
    const place = Number.isFinite(operand.max) ? (operand.min === 0 ? "1:" : "1") : "*";
    specs.push(`    ${quoted(`${place}:${operand.label}:${action(operand)}`)}`);
  }
  return `    (${names.join("|")})
      _arguments -S \\
${specs.map((spec) => `    ${spec}`).join(" \\\n")} && ret=0
      ;;`;
}

/** The specifications of a flag, one for each of its names. */
function flagSpecs(flag: CompletedFlag, excluded: string): string[] {
  const { names, takes, meaning, isRepeated, ...value } = flag;
  const said = `[${meaning.replaceAll("\\", "\\\\").replaceAll("[", "\\[").replaceAll("]", "\\]")}]`;
  return names.map((name) => {
    const isLong = name.startsWith("--");
    const argument = `${value.label.replaceAll(":", "\\:") || " "}:${action(value)}`;
    const forms = {
      none: "",
      value: `:${argument}`,
      attached: `::${argument}`,
      optional: `::${argument}`,
    };
    const join = { none: "", value: "=", attached: "=-", optional: "=" };
    const spec = `${name}${isLong ? join[takes] : ""}${said}${forms[takes]}`;
    return `    ${quoted(isRepeated ? `*${spec}` : `(${excluded})${spec}`)}`;
  });
}

function action({ kind, choices }: Pick<CompletedValue, "kind" | "choices">): string {
  switch (kind) {
    case "choice":
      return `(${choices.map((choice) => choice.replaceAll(":", "\\:")).join(" ")})`;
    case "file":
      return "_files";
    case "folder":
      return "_path_files -/";
    case "name":
      return "_walrust_names";
    case "destination":
      return "_walrust_destinations";
    default:
      return " ";
  }
}

/** A text as one word of zsh. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
