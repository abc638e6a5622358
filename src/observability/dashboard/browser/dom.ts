/** Elements of the page. Text is only ever set as text: no string becomes markup. */

const SVG = "http://www.w3.org/2000/svg";

/** The element of the page with this id. @throws Error if the page has none of this kind */
export function byId<Kind extends Element>(id: string, kind: abstract new () => Kind): Kind {
  const element = document.getElementById(id);
  if (!(element instanceof kind)) throw new Error(`The page has no ${kind.name} #${id}`);
  return element;
}

/** A new element. */
export function newElement<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  className = "",
  text = "",
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  if (className !== "") element.className = className;
  if (text !== "") element.textContent = text;
  return element;
}

/** Sets a text if it is another one: an unchanged element costs no layout and is not announced. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets the classes if they are others. */
export function setClass(element: Element, className: string): void {
  if (element.getAttribute("class") !== className) element.setAttribute("class", className);
}

/** An empty line of this size, hidden from screen readers: the numbers beside it say the same. */
export function newSpark(width: number, height: number): { svg: SVGSVGElement; path: SVGPathElement } {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  svg.setAttribute("class", "spark");
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  svg.append(path);
  return { svg, path };
}

/** Draws a path if it is another one. */
export function setPath(path: SVGPathElement, data: string): void {
  if (path.getAttribute("d") !== data) path.setAttribute("d", data);
}
