/**
 * Completes lines in the real shells. bash and zsh run on a terminal: a line is typed, a key completes it,
 * and another key prints the line. fish completes a line without a terminal (`complete -C`).
 *
 * The shells read the scripts of the built executable, which stands first on PATH as `walrust`.
 */
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../eventually.ts";
import { cleanEnvironment, untilTestEnds, walrustBinary } from "../processes/binary.ts";
import { peerPath } from "../servers/peers.ts";
import { tempFolder } from "../temp.ts";

/** A shell with completions, on a terminal. */
export interface CompletingShell {
  /** The line after all completions of its last word are inserted, with a blank between them. */
  completions(line: string): Promise<string>;
  /** The line after its last word is completed, as far as the completions agree. */
  completed(line: string): Promise<string>;
  /** Runs a command. */
  run(command: string): Promise<void>;
}

/** Surroundings of a shell. */
export interface Surroundings {
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
}

/** A folder of programs with the built executable. */
async function programFolder(): Promise<string> {
  const folder = join(tempFolder("shell"), "bin");
  mkdirSync(folder);
  symlinkSync(await walrustBinary(), join(folder, "walrust"));
  return folder;
}

async function environmentOf({ env }: Surroundings): Promise<Record<string, string>> {
  const clean = cleanEnvironment({ TERM: "dumb", ...env });
  return { ...clean, PATH: `${await programFolder()}:${clean["PATH"]}` };
}

const BASH_RC = `
PS1='ready> '
HISTFILE=
bind 'set enable-bracketed-paste off' 'set bell-style none' 'set completion-query-items 0' 2>/dev/null
bind '"\\C-t": insert-completions'
show() { printf '\\n<<%s>>\\n' "$READLINE_LINE"; READLINE_LINE=; READLINE_POINT=0; }
bind -x '"\\C-g": show'
`;

const ZSH_RC = `
PS1='ready> '
HISTFILE=
unsetopt zle_bracketed_paste beep prompt_sp prompt_cr
autoload -Uz compinit
compinit -u -D
zle -C all complete-word _generic
zstyle ':completion:all:*' completer _all_matches _complete
zstyle ':completion:all:*' insert true
bindkey '^T' all
bindkey '^I' complete-word
show() { printf '\\n<<%s>>\\n' "$BUFFER"; BUFFER= }
zle -N show
bindkey '^G' show
`;

/** How a shell is started on a terminal. */
interface TerminalShell {
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** The key that inserts all completions. */
  readonly allKey: string;
}

/**
 * bash without bash-completion.
 * @param more commands at the start of the shell, before the script is read
 */
export async function startBash(surroundings: Surroundings, more = ""): Promise<CompletingShell> {
  const folder = tempFolder("bash");
  const rc = join(folder, "rc");
  writeFileSync(rc, `${BASH_RC}${more}\nsource <(walrust completions bash)\n`);
  const command = [Bun.which("bash") ?? "/bin/bash", "--noprofile", "--rcfile", rc, "-i"];
  return startOnTerminal({ command, env: {}, allKey: "\x14" }, surroundings);
}

/** zsh with the script in its \`fpath\`, or (\`isRead\`) read by the shell. */
export async function startZsh(surroundings: Surroundings, isRead = false): Promise<CompletingShell> {
  const folder = tempFolder("zsh");
  const functions = join(folder, "functions");
  mkdirSync(functions);
  const script = isRead ? "source <(walrust completions zsh)" : "";
  const before = `fpath=(${functions} $fpath)\nwalrust completions zsh >${functions}/_walrust\n`;
  writeFileSync(join(folder, ".zshrc"), `${isRead ? "" : before}${ZSH_RC}${script}\n`);
  const shell = { command: [peerPath("zsh"), "-d", "-i"], env: { ZDOTDIR: folder }, allKey: "\x14" };
  return startOnTerminal(shell, surroundings);
}

async function startOnTerminal(shell: TerminalShell, surroundings: Surroundings): Promise<CompletingShell> {
  const { command, env, allKey } = shell;
  const decoder = new TextDecoder();
  let output = "";
  const child = untilTestEnds(
    Bun.spawn([...command], {
      cwd: surroundings.cwd,
      env: { ...(await environmentOf(surroundings)), ...env },
      terminal: {
        cols: 2_000,
        rows: 40,
        data: (_terminal, bytes) => {
          output += decoder.decode(bytes, { stream: true });
        },
      },
    }),
  );
  const until = async (what: RegExp): Promise<RegExpExecArray> => {
    let found: RegExpExecArray | null = null;
    await eventually(`${what} in ${JSON.stringify(output)}`, async () => {
      found = what.exec(output);
      return found !== null;
    });
    output = output.slice(output.indexOf(found![0]) + found![0].length);
    return found!;
  };
  await until(/ready> /);
  const type = async (line: string, key: string): Promise<string> => {
    child.terminal?.write(`${line}${key}\x07`);
    const [, shown = ""] = await until(/<<(.*?)>>\r*\n/s);
    return shown;
  };
  return {
    completions: (line) => type(line, allKey),
    completed: (line) => type(line, "\t"),
    run: async (words) => {
      child.terminal?.write(`${words}\r`);
      child.terminal?.write("printf '%s%s\\n' do ne\r");
      await until(/^done\r*$/m);
    },
  };
}

/** Completes lines in one fish. @returns the candidates of each line in order, without their descriptions */
export async function fishCandidates(
  lines: readonly string[],
  surroundings: Surroundings,
): Promise<string[][]> {
  const command =
    'walrust completions fish | source; for line in (string split \\n -- "$WALRUST_TEST_LINES"); ' +
    'echo "next line"; complete -C "$line"; end';
  const env = { ...(await environmentOf(surroundings)), WALRUST_TEST_LINES: lines.join("\n") };
  const child = untilTestEnds(
    Bun.spawn([peerPath("fish"), "--no-config", "-c", command], {
      cwd: surroundings.cwd,
      env,
      stdio: ["ignore", "pipe", "pipe"],
    }),
  );
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) !== 0 || stderr !== "") throw new Error(`fish ended with ${stderr}`);
  const parts = stdout.split("next line\n").slice(1);
  return parts.map((part) => {
    const found = part.split("\n").filter((line) => line !== "");
    return found.map((line) => line.split("\t")[0]!);
  });
}
