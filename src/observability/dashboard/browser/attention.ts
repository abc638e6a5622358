/** The list of problems, in plain words and with the remedy of each. */

import type { Problem } from "../dashboard-document.ts";
import { byId, newElement, setText } from "./dom.ts";
import { groupProblems, type ProblemGroup } from "./problem-groups.ts";
import { countText, nounText, visibleText } from "./texts.ts";

/** The most entries; the table has the others. */
const ENTRIES_MAX = 12;
/** The most names in an entry. */
const NAMES_MAX = 4;

/** The list. */
export class Attention {
  readonly #list = byId("problems", HTMLUListElement);
  readonly #calm = byId("calm", HTMLParagraphElement);
  readonly #more = byId("more-problems", HTMLParagraphElement);
  #shown = "";

  /** @param showOnly shows the databases with a code, in the table */
  constructor(readonly showOnly: (code: string) => void) {}

  /** Shows these problems. The list stays as it is unless an entry changes. */
  show(problems: readonly Problem[]): void {
    const groups = groupProblems(problems);
    this.#calm.hidden = groups.length > 0;
    setText(this.#calm, "Nothing.");
    const shown = JSON.stringify(groups.slice(0, ENTRIES_MAX));
    if (shown !== this.#shown) this.#rebuild(groups);
    this.#shown = shown;
    const hidden = groups.length - ENTRIES_MAX;
    this.#more.hidden = hidden <= 0;
    setText(this.#more, `${nounText(hidden, "problem")} more: the table shows the databases.`);
  }

  #rebuild(groups: readonly ProblemGroup[]): void {
    const focused = this.#list.contains(document.activeElement)
      ? (document.activeElement as HTMLElement).dataset["code"]
      : undefined;
    const items = groups.slice(0, ENTRIES_MAX).map((group) => {
      return groupItem(group, () => this.showOnly(group.code));
    });
    this.#list.replaceChildren(...items);
    if (focused === undefined) return;
    this.#list.querySelector<HTMLElement>(`[data-code="${CSS.escape(focused)}"]`)?.focus();
  }
}

/** An entry. @param subject the text before the message */
export function problemItem(
  { health, message, hint }: Pick<Problem, "health" | "message" | "hint">,
  subject: string,
): HTMLLIElement {
  const item = newElement("li", health);
  const head = newElement("p");
  const mark = newElement("span", "mark", subject);
  mark.dir = "auto";
  head.append(mark);
  const remedy = newElement("p");
  remedy.append(newElement("b", "", "What to do: "), newElement("span", "hint", visibleText(hint)));
  item.append(head, newElement("p", "message", visibleText(message)), remedy);
  return item;
}

function groupItem(group: ProblemGroup, show: () => void): HTMLLIElement {
  const { databases, code } = group;
  const item = problemItem(group, subjectOf(databases, code));
  if (databases.length < 2) return item;
  const names = databases.slice(0, NAMES_MAX).map(visibleText).join(", ");
  const others = databases.length - NAMES_MAX;
  const more = others > 0 ? ` and ${countText(others)} more` : "";
  item.firstElementChild?.append(" ", newElement("span", "names", `${names}${more}`));
  const button = newElement("button", "", "Show in the table");
  button.type = "button";
  button.dataset["code"] = code;
  button.addEventListener("click", show);
  item.append(button);
  return item;
}

function subjectOf(databases: readonly string[], code: string): string {
  if (databases.length === 0) return code.startsWith("disk-") ? "This machine" : "The store";
  return databases.length === 1 ? visibleText(databases[0]!) : nounText(databases.length, "database");
}
