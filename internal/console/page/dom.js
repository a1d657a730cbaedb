// Elements are made here and text is set as text, never as markup: what a server
// answers cannot become a part of the page.

export const byId = (id) => document.getElementById(id);

const fill = (e, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
    else e.setAttribute(name, value === true ? "" : value);
  }
  e.append(...children.flat().filter((c) => c !== undefined && c !== null && c !== false));
  return e;
};

// el makes an element of HTML; attributes that begin with "on" are listeners.
export const el = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);

// svg makes an element of SVG.
export const svg = (name, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

// setText changes a text only where it differs, so that a screen reader is not
// told again what it has said, and a selection stays.
export const setText = (e, text) => {
  if (e.textContent !== text) e.textContent = text;
};

// hide shows or hides an element.
export const hide = (e, hidden) => {
  if (e.hidden !== hidden) e.hidden = hidden;
};

// scroller holds a table that may be wider than the page, which then takes a stop
// of Tab so that a keyboard can move it.
export const scroller = (label) => {
  const node = el("div", { class: "scroll", role: "group", "aria-label": label });
  new ResizeObserver(() => {
    if (node.scrollWidth > node.clientWidth) node.tabIndex = 0;
    else node.removeAttribute("tabindex");
  }).observe(node);
  return node;
};

// uid returns a name for an element that a label or a description points at.
let last = 0;
export const uid = (what) => `${what}-${++last}`;
