// Sections and tables as all of the page has them. A table scrolls sideways when the window is narrow, by keyboard too,
// and has a name for a screen reader.

import { h } from "./dom.js";

export function section(key, title, ...content) {
  return h("section", { "data-key": key }, h("h2", { id: `${key}-title` }, title), content);
}

export const named = (key) => ({ "aria-labelledby": `${key}-title` });

// `name`: `named(key)` or {"aria-label": ...}. `heads`: [text, class], the class null for text and "number" for numbers.
export function table(name, kind, heads, rows) {
  const head = heads.map(([text, look]) => h("th", { scope: "col", class: look }, text));
  return h(
    "div",
    { class: "scroll", tabindex: 0, role: "region", ...name },
    h("table", { class: kind }, h("thead", null, h("tr", null, head)), h("tbody", null, rows)),
  );
}

export const row = (key, ...cells) => h("tr", { "data-key": key }, cells);
export const rowHead = (...content) => h("th", { scope: "row" }, content);
export const text = (...content) => h("td", null, content);
export const number = (...content) => h("td", { class: "number" }, content);
export const note = (content) => (content ? h("p", { class: "key" }, content) : null);
