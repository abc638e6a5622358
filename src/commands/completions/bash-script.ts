/**
 * PURE: the completions for bash. The script needs no other package (bash-completion is a comfort, not a
 * need), and works in bash 3.2 and later. Reading it defines functions and starts no process.
 *
 * bash splits a line at `=` and `:`, so the script joins `--flag=value` and `s3://bucket` again, and gives
 * back only the part of a candidate that bash replaces.
 *
 * Names come from a bucket, which may hold hostile ones: every candidate is quoted for the place where it is
 * inserted.
 */
import { type CompletedProgram, type FlagCase, flagCases, type ValueKind } from "./completion-model.ts";
import { NAMES_WORD } from "./database-names.ts";

/** The script. */
export function bashScript(program: CompletedProgram, version: string): string {
  const verbs = program.verbs.map(({ names }) => names.join(" ")).join(" ");
  return `# Completions of walrust ${version} for bash, made by \`walrust completions bash\`.

# The flags of a verb (flags; + marks one that can be given again), and the kind (operand) and the greatest
# number (most) of its other words.
_walrust_verb() {
  case $1 in
${program.verbs.map(verbCase).join("\n")}
    help) flags='' operand='choice ${verbs}' most=1 ;;
    *) return 1 ;;
  esac
}

# Whether a flag of a verb takes a value (takes), and of which kind.
_walrust_flag() {
  takes=none kind=free
  case "$1 $2" in
${flagCases(program).map(flagCase).join("\n")}
  esac
}
${FUNCTIONS.trimEnd()}

${mainFunction(program, verbs)}

complete -F _walrust walrust`;
}

function mainFunction({ flags }: CompletedProgram, verbs: string): string {
  return `# The state lies in variables of this function, which the functions above set and read.
_walrust() {
  local IFS=$' \\t\\n' words=() raw='' cur='' value='' strip='' lead='' quote=''
  local verb='' given=' ' wanted='' ended='' count=0 flags='' operand='' most=0 takes='' kind='' word one
  COMPREPLY=()
  _walrust_words "$2"
  if [[ \${words[\${#words[@]} - 1]} == *[\\<\\>] ]]; then
    _walrust_paths -f
    return 0
  fi
  _walrust_look_back || return 0
  if [[ -n $wanted ]]; then
    _walrust_complete "$wanted"
    return 0
  fi
  if [[ -z $verb ]]; then
    case $cur in
      -*) _walrust_reply ${flags.flatMap(({ names }) => names).join(" ")} ;;
      *) _walrust_reply ${verbs} help ;;
    esac
    return 0
  fi
  case $ended$cur in
    -*=*)
      _walrust_flag "$verb" "\${cur%%=*}"
      value=\${cur#*=} lead=\${cur%%=*}=
      # Without = among the characters that bash splits at, the flag is replaced too.
      [[ $strip == "$lead"* ]] && strip=\${strip#"$lead"} lead=''
      _walrust_complete "$kind"
      ;;
    -*)
      for one in $flags; do
        word=\${one#*,}
        if [[ $one == +* ]]; then
          one=\${one#+} word=\${word#+}
        elif [[ $given == *" \${one%,*} "* || $given == *" $word "* ]]; then
          continue
        fi
        _walrust_reply "\${one%,*}"
        [[ $word == "$one" ]] || _walrust_reply "$word"
      done
      ;;
    *) ((count < most)) && _walrust_complete "$operand" ;;
  esac
  return 0
}`;
}

function verbCase({ names, flags, operand }: CompletedProgram["verbs"][number]): string {
  const words = flags.map((flag) => `${flag.isRepeated ? "+" : ""}${flag.names.join(",")}`).join(" ");
  const most = operand === null ? 0 : Number.isFinite(operand.max) ? operand.max : 1_000_000;
  const kind = operand === null ? "free" : kindText(operand);
  return `    ${names.join(" | ")}) flags=${quoted(words)} operand=${quoted(kind)} most=${most} ;;`;
}

function flagCase(one: FlagCase): string {
  const patterns = one.names.flatMap((name) =>
    one.verbs === null ? [`*' ${name}'`] : one.verbs.map((verb) => quoted(`${verb} ${name}`)),
  );
  return `    ${patterns.join(" | ")}) takes=${one.takes} kind=${quoted(kindText(one))} ;;`;
}

function kindText({ kind, choices }: { kind: ValueKind; choices: readonly string[] }): string {
  return kind === "choice" ? `choice ${choices.join(" ")}` : kind;
}

/** A text as one word of a shell. The table holds no quotes. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

const FUNCTIONS = `
# A word without its quotes and backslashes (plain). Nothing in it is expanded or run.
_walrust_plain() {
  local rest=$1 part
  plain=''
  while [[ $rest == *[\\\\\\"\\']* ]]; do
    part=\${rest%%[\\\\\\"\\']*}
    plain+=$part
    rest=\${rest#"$part"}
    case $rest in
      \\\\*) plain+=\${rest:1:1} rest=\${rest:2} ;;
      \\'*)
        part=\${rest:1}
        part=\${part%%\\'*}
        plain+=$part
        rest=\${rest#\\'"$part"}
        rest=\${rest#\\'}
        ;;
      *) rest=\${rest:1} ;;
    esac
  done
  plain+=$rest
}

# Splits the line up to the cursor: whole words (words), the last of them as it is typed (raw) and plain
# (cur), what precedes the part that bash replaces (strip), and the quote that is open there (quote).
_walrust_words() {
  local line=\${COMP_LINE:0:COMP_POINT} gap word i plain
  for ((i = 0; i <= COMP_CWORD; i++)); do
    word=\${COMP_WORDS[i]}
    gap=\${line%%[![:space:]]*}
    line=\${line#"$gap"}
    ((i == COMP_CWORD)) && word=$line
    if [[ -n $gap || $i -eq 0 ]]; then
      words+=("$word")
    else
      words[\${#words[@]} - 1]+=$word
    fi
    line=\${line#"$word"}
  done
  raw=\${words[\${#words[@]} - 1]}
  unset "words[\${#words[@]} - 1]"
  _walrust_plain "$raw"
  cur=$plain value=$plain
  _walrust_plain "$1"
  strip=\${cur%"$plain"}
  case \${raw%"$1"} in
    *\\") quote=\\" ;;
    *\\') quote=\\' ;;
  esac
}

# Reads the words before the cursor: the verb, the flags that are given, the number of other words (count),
# and the kind of the value that the last flag waits for (wanted). Fails when the verb is unknown.
_walrust_look_back() {
  local i plain
  for ((i = 1; i < \${#words[@]}; i++)); do
    _walrust_plain "\${words[i]}"
    word=$plain
    if [[ -z $verb ]]; then
      [[ $word == -* ]] && continue
      _walrust_verb "$word" || return 1
      verb=$word
    elif [[ -n $ended || $word != -?* ]]; then
      count=$((count + 1))
    elif [[ $word == -- ]]; then
      ended=1
    else
      given+="\${word%%=*} "
      [[ $word == *=* ]] && continue
      _walrust_flag "$verb" "$word"
      case $takes in
        value) ((++i < \${#words[@]})) || wanted=$kind ;;
        optional)
          case \${words[i + 1]-} in
            true | false) i=$((i + 1)) ;;
            *) ((i + 1 < \${#words[@]})) || [[ $cur == -* ]] || _walrust_complete "$kind" ;;
          esac
          ;;
      esac
    fi
  done
  return 0
}

# Adds the candidates that begin with what is typed, as they have to stand on the line.
_walrust_reply() {
  local one rest
  for one; do
    [[ $one == "$value"* ]] || continue
    rest=$lead\${one#"$strip"}
    case $quote in
      \\")
        # An exclamation mark cannot be quoted there.
        [[ $rest == *!* ]] && continue
        rest=\${rest//\\\\/\\\\\\\\}
        rest=\${rest//\\"/\\\\\\"}
        rest=\${rest//\\$/\\\\\\$}
        rest=\${rest//\\\`/\\\\\\\`}
        ;;
      \\') [[ $rest == *\\'* ]] && continue ;;
      *) [[ -n $rest ]] && printf -v rest %q "$rest" ;;
    esac
    COMPREPLY+=("$rest")
  done
}

# Adds files (-f) or folders (-d). Readline quotes them.
_walrust_paths() {
  compopt -o filenames 2>/dev/null
  while IFS= read -r one; do
    [[ -n $one ]] && COMPREPLY+=("$lead\${one#"$strip"}")
  done <<<"$(compgen "$1" -- "$value")"
}

_walrust_destinations() {
  compopt -o nospace 2>/dev/null
  case $value in
    file://*)
      while IFS= read -r one; do
        [[ -n $one ]] && _walrust_reply "file://$one/"
      done <<<"$(compgen -d -- "\${value#file://}")"
      ;;
    *) _walrust_reply s3:// file:/// ;;
  esac
}

_walrust_names() {
  local program=\${COMP_WORDS[0]} typed=() plain
  [[ $program == '~/'* ]] && program=$HOME/\${program#'~/'}
  type -P "$program" >/dev/null || program=walrust
  for word in "\${words[@]:1}"; do
    _walrust_plain "$word"
    typed+=("$plain")
  done
  while IFS= read -r one; do
    [[ -n $one ]] && _walrust_reply "$one"
  done <<<"$("$program" ${NAMES_WORD} "$value" "\${typed[@]}" 2>/dev/null </dev/null)"
}

# Adds the candidates of a kind.
_walrust_complete() {
  case $1 in
    choice\\ *) _walrust_reply \${1#choice } ;;
    file) _walrust_paths -f ;;
    folder) _walrust_paths -d ;;
    name) _walrust_names ;;
    destination) _walrust_destinations ;;
  esac
}
`;
