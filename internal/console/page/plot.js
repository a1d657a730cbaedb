// Plots in SVG: a spark without axes, a chart of some minutes with a legend that
// tells the values, a histogram. Colours are classes, so that a theme changes
// them where they stand. Every plot has its content in words as well.
import { el, setText, svg } from "./dom.js";
import { value } from "./format.js";

// nice rounds up to 1, 2, 2.5 or 5 times a power of ten.
const nice = (v) => {
  if (!(v > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(v));
  return [1, 2, 2.5, 5, 10].find((k) => k * power >= v * 0.9999) * power;
};

const known = (values) => values.filter(Number.isFinite);

// lines returns the path of the values that are known, and of the area below.
const lines = (values, x, y, floor) => {
  let line = "", area = "", first = null, last = null;
  const close = () => {
    if (first !== null) area += `L${x(last)} ${floor}L${x(first)} ${floor}Z`;
    first = null;
  };
  values.forEach((v, i) => {
    if (!Number.isFinite(v)) return close();
    const at = `${x(i).toFixed(1)} ${y(v).toFixed(1)}`;
    line += (first === null ? "M" : "L") + at;
    area += (first === null ? "M" : "L") + at;
    first ??= i;
    last = i;
  });
  close();
  return { line, area };
};

// spark returns { node, draw(values) }.
export const spark = () => {
  const area = svg("path", { class: "a" }), line = svg("path", { class: "l" });
  const node = svg("svg", { class: "spark", viewBox: "0 0 100 30", preserveAspectRatio: "none", "aria-hidden": "true" }, area, line);
  const draw = (values) => {
    const most = Math.max(...known(values), 0) || 1;
    const n = Math.max(values.length - 1, 29); // few values stand at the right
    const paths = lines(values, (i) => ((n - (values.length - 1) + i) / n) * 100, (v) => 28 - (v / most) * 25, 29);
    line.setAttribute("d", paths.line);
    area.setAttribute("d", paths.area);
  };
  return { node, draw };
};

// chart returns { node, draw(at, lists) } for series of { name, color }; write
// tells a value in words and unit. With stacked each lies upon the one before.
export const chart = ({ label, series, write, stacked = false }) => {
  const plot = svg("svg", { class: "plot", role: "img", "aria-label": label });
  const values = series.map(() => el("b"));
  const legend = el("ul", { class: "legend" }, series.map((s, i) =>
    el("li", {}, svg("svg", { viewBox: "0 0 14 10", "aria-hidden": "true" }, svg("rect", { class: s.color, y: 3, width: 14, height: 4, rx: 2 })), s.name + " ", values[i])));
  const when = el("li");
  legend.append(when);
  const node = el("div", {}, plot, legend);
  let last = null, hovered = null;

  const tell = () => {
    const n = last.at.length, i = hovered === null ? n - 1 : hovered;
    series.forEach((_, k) => setText(values[k], n ? write(last.lists[k][i]) : "–"));
    setText(when, hovered === null || !n ? "" : new Date(last.at[i]).toLocaleTimeString("en-GB"));
    if (hovered === null) plot.setAttribute("aria-label", `${label}: ` + series.map((s, k) => `${s.name} ${n ? write(last.lists[k][i]) : "unknown"}`).join(", "));
  };

  const draw = (at, lists) => {
    last = { at, lists };
    const w = Math.max(plot.clientWidth, 200), h = 190, left = 56, right = 4, top = 8, bottom = 20;
    plot.setAttribute("viewBox", `0 0 ${w} ${h}`);
    let drawn = lists;
    if (stacked) {
      let below = at.map(() => 0);
      drawn = lists.map((list) => (below = list.map((v, i) => below[i] + v)));
    }
    const most = nice(Math.max(...drawn.flatMap(known), 0));
    const n = Math.max(at.length - 1, 59);
    const x = (i) => left + ((n - (at.length - 1) + i) / n) * (w - left - right);
    const y = (v) => h - bottom - (v / most) * (h - top - bottom);
    const parts = [];
    for (let k = 0; k <= 4; k++) {
      const v = (most * k) / 4;
      parts.push(svg("line", { class: "rule", x1: left, x2: w - right, y1: y(v), y2: y(v) }));
      if (k % 2 === 0) parts.push(svg("text", { x: left - 8, y: y(v) + 4, "text-anchor": "end" }, write(v)));
    }
    if (at.length > 1 && x(0) < w - 140) {
      const seconds = (at.at(-1) - at[0]) / 1000;
      parts.push(svg("text", { x: Math.max(x(0), left), y: h - 4 }, seconds >= 90 ? `${Math.round(seconds / 60)} min ago` : `${Math.round(seconds)} s ago`));
    }
    parts.push(svg("text", { x: w - right, y: h - 4, "text-anchor": "end" }, "now"));
    // The last first, so that of stacked areas the lower ones lie in front.
    for (let k = series.length - 1; k >= 0; k--) {
      const paths = lines(drawn[k], x, y, h - bottom);
      parts.push(svg("path", { class: "a " + series[k].color, d: paths.area }), svg("path", { class: "l " + series[k].color, d: paths.line, fill: "none" }));
    }
    if (hovered !== null && hovered < at.length) parts.push(svg("line", { class: "at", x1: x(hovered), x2: x(hovered), y1: top, y2: h - bottom }));
    plot.replaceChildren(...parts);
    tell();
    last.index = (px) => Math.min(at.length - 1, Math.max(0, Math.round(((px - left) / (w - left - right)) * n - (n - (at.length - 1)))));
  };

  plot.addEventListener("pointermove", (e) => {
    if (!last?.at.length) return;
    hovered = last.index(e.clientX - plot.getBoundingClientRect().left);
    draw(last.at, last.lists);
  });
  plot.addEventListener("pointerleave", () => {
    hovered = null;
    if (last) draw(last.at, last.lists);
  });
  return { node, draw };
};

// histogram draws how values lie between two bounds, in so many bins. Without
// bounds it takes those of the values.
export const histogram = (values, low, high, { bins = 24, label } = {}) => {
  const list = known(values);
  low ??= Math.min(...list);
  high ??= Math.max(...list);
  if (!(high > low)) {
    low -= 0.5;
    high = low + 1;
  }
  const counts = new Array(bins).fill(0);
  for (const v of list) counts[Math.max(0, Math.min(bins - 1, Math.floor(((v - low) / (high - low)) * bins)))]++;
  const most = Math.max(...counts, 1), w = 240, h = 54;
  const bars = counts.map((n, i) => {
    const height = n === 0 ? 0 : Math.max(1.5, (n / most) * (h - 4));
    return svg("rect", { x: (i * w) / bins + 0.75, y: h - 1 - height, width: w / bins - 1.5, height });
  });
  const mean = list.reduce((a, b) => a + b, 0) / list.length;
  return svg("svg", {
    class: "histogram", viewBox: `0 0 ${w} ${h}`, preserveAspectRatio: "none", role: "img",
    "aria-label": `${label}: ${list.length} values, mean ${value(mean)}, from ${value(Math.min(...list))} to ${value(Math.max(...list))}`,
  }, bars, svg("line", { x1: 0, x2: w, y1: h - 0.5, y2: h - 0.5 }));
};

// choices draws how often each of n choices was taken.
export const choices = (values, n, label) => {
  const counts = new Array(n).fill(0);
  for (const v of values) if (v >= 0 && v < n) counts[v]++;
  return histogramOfCounts(counts, `${label}: ` + counts.map((c, i) => `${i} taken ${c} times`).join(", "));
};

const histogramOfCounts = (counts, label) => {
  const most = Math.max(...counts, 1), w = 240, h = 54;
  return svg("svg", { class: "histogram", viewBox: `0 0 ${w} ${h}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    counts.map((n, i) => {
      const height = n === 0 ? 0 : Math.max(1.5, (n / most) * (h - 4));
      return svg("rect", { x: (i * w) / counts.length + 1.5, y: h - 1 - height, width: Math.max(1, w / counts.length - 3), height });
    }), svg("line", { x1: 0, x2: w, y1: h - 0.5, y2: h - 0.5 }));
};

// meter is a bar from zero, or from low where zero is not between the bounds, to
// a value. The number stands beside it, so it is hidden from readers.
export const meter = (v, low, high, kind = "") => {
  const node = el("div", { class: "meter", "aria-hidden": "true" });
  if (!Number.isFinite(v) || !(high > low)) return node;
  const at = (u) => Math.max(0, Math.min(1, (u - low) / (high - low))) * 100;
  const from = at(low <= 0 && high >= 0 ? 0 : low), to = at(v);
  const bar = el("i", { class: kind || null });
  bar.style.left = Math.min(from, to) + "%";
  bar.style.width = Math.abs(to - from) + "%";
  node.append(bar);
  if (low < 0 && high > 0) {
    const zero = el("i", { class: "zero" });
    zero.style.left = from + "%";
    node.append(zero);
  }
  return node;
};
