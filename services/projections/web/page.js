// Small ways of writing to the page. Text is only ever set as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** A new element with a class and children (nodes or text). */
export function element(tag, className = "", ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

/** A new SVG element with attributes. */
export function svgElement(tag, attributes = {}) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** Sets a text where it differs: what stays the same neither flickers nor is read aloud again. */
export function write(target, text) {
  const wanted = String(text);
  if (target.textContent !== wanted) target.textContent = wanted;
}

/** A text that is shown, or nothing. */
export function writeOrHide(target, text) {
  write(target, text || "");
  target.hidden = !text;
}

/** Puts children in order without touching those that stand right, and keeps the focus. */
export function arrange(parent, children) {
  const current = parent.children;
  const stands =
    current.length === children.length && children.every((child, i) => child === current[i]);
  if (stands) return;
  const focused = document.activeElement;
  parent.replaceChildren(...children);
  if (focused && parent.contains(focused)) focused.focus({ preventScroll: true });
}

/** A button that calls back when it is pressed. */
export function button(text, pressed, className = "") {
  const made = element("button", className, text);
  made.type = "button";
  made.addEventListener("click", pressed);
  return made;
}

/** An option of a select. */
export function option(value, text) {
  const made = element("option", "", text);
  made.value = value;
  return made;
}

/** Options of a select, with the choice kept where it is still offered. */
export function offer(select, choices) {
  const wanted = JSON.stringify(choices);
  if (select.dataset.offered === wanted) return;
  const chosen = select.value;
  select.replaceChildren(...choices.map(([value, text]) => option(value, text)));
  if (choices.some(([value]) => value === chosen)) select.value = chosen;
  select.dataset.offered = wanted;
}
