// One field for each feature of a contract: sliders and numbers where there are
// few values, boxes for bits, and a text for images and all else that nobody
// moves by hand.
import { el, hide, uid } from "./dom.js";
import { value } from "./format.js";

const mostSliders = 32; // values of a feature that get a slider each
const mostBits = 128;
const mostListed = 512; // values that are written as a list rather than as bytes
const endless = 1e6; // a bound beyond this is none to slide to

export const sizeOf = (shape) => shape.reduce((a, b) => a * b, 1);

// nest lays a flat list out in a shape.
export const nest = (flat, shape) => {
  if (shape.length === 0) return flat[0];
  if (shape.length === 1) return flat;
  const step = flat.length / shape[0];
  return Array.from({ length: shape[0] }, (_, i) => nest(flat.slice(i * step, (i + 1) * step), shape.slice(1)));
};

// flatten is the reverse: every number of a value, in row-major order.
export const flatten = (v) => (Array.isArray(v) ? v.flatMap(flatten) : [v]);

const boundOf = (space, side, feature, i) => {
  const own = Array.isArray(space?.[side]) ? space[side][i] : space?.[side];
  const v = feature[side] ?? own;
  return v === null || v === undefined || Math.abs(v) > endless ? null : v;
};

// spread are the bounds that random values lie between, and how they are whole.
const spread = (low, high, whole) => {
  const from = low ?? (high === null ? -1 : high - 2), to = high ?? from + 2;
  const v = from + Math.random() * (to - from);
  return whole ? Math.round(v) : Number(v.toPrecision(5));
};

const toBase64 = (bytes) => {
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
};

const fromBase64 = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

// slider is one value with a slider and a number. A value without bounds has a
// slider that grows with what is typed.
const slider = (name, text, { low, high, whole, unit }, changed) => {
  let from = low ?? Math.min(-3, high ?? -3), to = high ?? Math.max(3, low ?? 3);
  if (!(to > from)) to = from + 1;
  const step = whole ? 1 : (to - from) / 1000;
  const start = whole ? from : low === null || high === null ? Math.min(Math.max(0, from), to) : (from + to) / 2;
  const id = uid("value");
  const range = el("input", { type: "range", min: from, max: to, step: whole ? 1 : "any", id: id + "-range", "aria-label": name });
  const number = el("input", { type: "number", min: low, max: high, step: whole ? 1 : "any", id });
  const label = el("label", { for: id, title: name }, text, unit && el("span", { class: "muted" }, ` ${unit}`));
  const node = el("div", { class: "slider" }, label, range, number);
  const tidy = (v) => (whole ? Math.round(v) : Number(v.toPrecision(6)));
  const set = (v) => {
    number.value = String(v);
    if (low === null && v < Number(range.min)) range.min = v;
    if (high === null && v > Number(range.max)) range.max = v;
    range.value = String(v);
  };
  range.addEventListener("input", () => {
    number.value = String(tidy(Number(range.value)));
    changed();
  });
  // The step of arrow keys; the pointer is free to stop anywhere.
  range.addEventListener("keydown", (e) => {
    const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[e.key];
    if (by === undefined || whole) return;
    e.preventDefault();
    set(tidy(Math.min(Number(range.max), Math.max(Number(range.min), Number(range.value) + by * step * 10))));
    changed();
  });
  number.addEventListener("input", () => {
    if (number.value === "") return;
    set(Number(number.value));
    changed();
  });
  set(tidy(start));
  return {
    node, set, get: () => (number.value === "" ? NaN : Number(number.value)),
    zero: () => set(Math.min(Math.max(0, low ?? 0), high ?? 0)),
    random: () => set(spread(low, high, whole)),
  };
};

// sliders are the fields of a feature with few values.
const sliders = (f, size, whole, choices, changed) => {
  const one = size === 1 && f.shape.length <= 1;
  const list = Array.from({ length: size }, (_, i) => {
    const n = choices?.[i];
    const low = n ? f.space.start ?? 0 : boundOf(f.space, "low", f, i), high = n ? (f.space.start ?? 0) + n - 1 : boundOf(f.space, "high", f, i);
    return slider(one ? f.name : `${f.name}[${i}]`, one ? f.name : String(i), { low, high, whole, unit: one ? f.unit : "" }, changed);
  });
  const node = one ? list[0].node : el("fieldset", {}, el("legend", {}, f.name, f.unit && el("span", { class: "muted" }, ` ${f.unit}`)), list.map((s) => s.node));
  return {
    node, flat: () => list.map((s) => s.get()), get: () => nest(list.map((s) => s.get()), f.shape),
    set: (v) => flatten(v).forEach((x, i) => list[i]?.set(x)),
    zero: () => list.forEach((s) => s.zero()), random: () => list.forEach((s) => s.random()),
  };
};

// bits are the boxes of a MultiBinary.
const bits = (f, size, changed) => {
  const list = Array.from({ length: size }, (_, i) => el("input", { type: "checkbox", onchange: changed, "aria-label": `${f.name}[${i}]` }));
  const node = el("fieldset", {}, el("legend", {}, f.name), el("div", { class: "wrap" }, list.map((b, i) => el("label", { class: "check" }, b, String(i)))));
  const set = (v) => flatten(v).forEach((x, i) => list[i] && (list[i].checked = Boolean(x)));
  return {
    node, set, get: () => nest(list.map((b) => Number(b.checked)), f.shape),
    zero: () => set(list.map(() => 0)), random: () => set(list.map(() => Math.round(Math.random()))),
  };
};

// text is the field of what has many values: JSON of its shape, or bytes.
const text = (f, size, changed) => {
  const image = f.image || f.space?.dtype === "uint8";
  const id = uid("text");
  const area = el("textarea", { id, rows: 5, spellcheck: "false" });
  const picture = el("canvas", { class: "preview", role: "img", "aria-label": `${f.name} as a picture`, hidden: true });
  const trouble = el("p", { class: "bad", role: "status" });
  const node = el("fieldset", {},
    el("legend", {}, f.name, el("span", { class: "muted" }, ` ${f.shape.join(" × ")} ${image ? "bytes of an image" : "values"}`)),
    el("label", { for: id, class: "muted" }, "JSON of this shape, or { \"base64\", \"dtype\", \"shape\" }; paste your own"), area, trouble,
    el("div", { class: "row" }, el("button", { type: "button", onclick: () => { random(); changed(); } }, "Random"), el("button", { type: "button", onclick: () => { zero(); changed(); } }, "Zeros"), picture));
  const show = () => {
    trouble.textContent = "";
    let v;
    try {
      v = JSON.parse(area.value);
    } catch {
      trouble.textContent = `${f.name}: this is no JSON`;
    }
    hide(picture, !image || !paint(picture, v, f));
  };
  const write = (make) => {
    if (image) area.value = JSON.stringify({ base64: toBase64(Uint8Array.from({ length: size }, make)), dtype: "uint8", shape: f.shape });
    else if (size <= mostListed) area.value = JSON.stringify(nest(Array.from({ length: size }, make), f.shape));
    else area.value = JSON.stringify({ base64: toBase64(new Uint8Array(Float32Array.from({ length: size }, make).buffer)), dtype: "float32", shape: f.shape });
    show();
  };
  const random = () => write((_, i) => (image ? Math.floor(Math.random() * 256) : spread(boundOf(f.space, "low", f, i), boundOf(f.space, "high", f, i), false)));
  const zero = () => write(() => 0);
  area.addEventListener("input", () => {
    show();
    changed();
  });
  zero();
  return {
    node, zero, random, set: (v) => { area.value = JSON.stringify(Array.isArray(v) && v.length === size ? nest(v, f.shape) : v); show(); },
    get: () => {
      try {
        return JSON.parse(area.value);
      } catch {
        throw new Error(`${f.name} is no JSON`);
      }
    },
  };
};

// paint draws an image, of stacked frames the last one; it tells whether it could.
const paint = (canvas, v, f) => {
  let bytes;
  try {
    bytes = typeof v === "string" ? fromBase64(v) : v?.base64 ? fromBase64(v.base64) : flatten(v);
  } catch {
    return false;
  }
  const first = f.channels === "first" || f.shape.length === 3 && f.shape[0] <= 4 && f.channels !== "last";
  const [c, h, w] = f.shape.length === 3 ? (first ? f.shape : [f.shape[2], f.shape[0], f.shape[1]]) : [1, ...f.shape];
  if (bytes.length !== c * h * w || f.shape.length < 2) return false;
  canvas.width = w;
  canvas.height = h;
  const context = canvas.getContext("2d"), data = context.createImageData(w, h);
  const at = (k, i) => bytes[first ? k * h * w + i : i * c + k];
  for (let i = 0; i < w * h; i++) {
    for (let k = 0; k < 3; k++) data.data[4 * i + k] = at(c === 3 ? k : c - 1, i);
    data.data[4 * i + 3] = 255;
  }
  context.putImageData(data, 0, 0);
  return true;
};

// field makes the field of a feature: node, get, set, zero and random.
export const field = (f, changed) => {
  const size = sizeOf(f.shape), kind = f.space?.type;
  if (kind === "MultiBinary" && size <= mostBits) return bits(f, size, changed);
  if (kind === "Discrete") return sliders(f, 1, true, [f.space.n], changed);
  if (kind === "MultiDiscrete" && size <= mostSliders) return sliders(f, size, true, f.space.nvec, changed);
  if (size <= mostSliders && !f.image) return sliders(f, size, f.space?.dtype?.startsWith("int") || f.space?.dtype?.startsWith("uint"), null, changed);
  return text(f, size, changed);
};

// describe writes an observation in few words.
export const describe = (row) => flatten(Object.values(row)).slice(0, 8).map(value).join(", ");
