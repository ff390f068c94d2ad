// Elements from descriptions, and the page brought to a wanted state without replacing what stays: a reader's
// place, focus and selection survive an update each second. Texts become text nodes and nothing else: no string
// of the daemon's is ever parsed as markup.

const SVG = "http://www.w3.org/2000/svg";
const SVG_TAGS = new Set(["svg", "rect", "path", "line", "title"]);

// h("p", {class: "x", "data-key": 1}, "text", child, null): null, undefined and false are left out.
export function h(tag, attributes, ...children) {
  const element = SVG_TAGS.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== null && value !== undefined && value !== false)
      element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

// Makes the children of `parent` equal to `wanted`. Elements with a data-key keep their identity when they move.
export function patch(parent, wanted) {
  const keyed = new Map();
  for (const child of parent.children) {
    if (child.dataset?.key) keyed.set(child.dataset.key, child);
  }
  let at = parent.firstChild;
  for (const next of wanted.filter(Boolean)) {
    const key = next.dataset?.key;
    const found = key ? keyed.get(key) : at;
    if (found && isSame(found, next)) {
      if (found === at) at = at.nextSibling;
      else parent.insertBefore(found, at);
      update(found, next);
    } else {
      parent.insertBefore(next, at);
    }
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

function isSame(a, b) {
  return (
    a.nodeType === b.nodeType &&
    a.nodeName === b.nodeName &&
    (a.dataset?.key ?? "") === (b.dataset?.key ?? "")
  );
}

function update(old, next) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.nodeValue !== next.nodeValue) old.nodeValue = next.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes]) {
    // Whether it is open is the reader's choice.
    if (name !== "open" && !next.hasAttribute(name)) old.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  patch(old, [...next.childNodes]);
}

export const unseen = (text) => h("span", { class: "unseen" }, text);
