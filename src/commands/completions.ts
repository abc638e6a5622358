/**
 * `walrust completions`: prints the script that completes the words of walrust in a shell.
 */
import { WalrustError } from "../errors.ts";
import type { CompletedProgram } from "./completions/completion-model.ts";
import { printJson, printText } from "./shared/output.ts";
import { USAGE_EXIT, type Verb } from "./shared/verb.ts";

/** The scripts, each imported only when it is printed. */
const SCRIPTS: Readonly<
  Record<string, () => Promise<(program: CompletedProgram, version: string) => string>>
> = {
  bash: async () => (await import("./completions/bash-script.ts")).bashScript,
  zsh: async () => (await import("./completions/zsh-script.ts")).zshScript,
  fish: async () => (await import("./completions/fish-script.ts")).fishScript,
};
const SHELLS = Object.keys(SCRIPTS);

/** The verb `completions`. */
export const completionsVerb: Verb = {
  name: "completions",
  summary: "Print the completions of walrust for a shell",
  usage: "SHELL",
  options: [],
  positionals: { name: "SHELL", min: 1, max: 1, choices: SHELLS, meaning: SHELLS.join(", ") },
  examples: [
    ["walrust completions bash | sudo tee /etc/bash_completion.d/walrust", "bash, for all users"],
    ["walrust completions zsh | sudo tee /usr/local/share/zsh/site-functions/_walrust", "zsh, for all users"],
    ["walrust completions fish | sudo tee /etc/fish/completions/walrust.fish", "fish, for all users"],
  ],
  exitCodes: [[0, "printed"], USAGE_EXIT],
  run: async ({ words, verbs, version, isJson }) => {
    const [shell = ""] = words.positionals;
    const load = SCRIPTS[shell];
    if (load === undefined) throw new WalrustError("usage", `There are no completions for ${shell}`);
    const { completedProgram } = await import("./completions/completion-model.ts");
    const script = (await load())(completedProgram(verbs), version);
    if (isJson) printJson({ shell, script });
    else printText(script);
    return 0;
  },
};
