// Drift: how the features of what comes in lie against the statistics that
// training left. The panel is there where the server measures it.
import { el, hide, scroller } from "./dom.js";
import { percent, value } from "./format.js";
import { meter } from "./plot.js";

const prefix = "carla_rl_drift_";

// Names of measures that are known, how they are written, and what is a lot.
const known = {
  z_score: { name: "z-score", much: 3, most: 6, write: value },
  psi: { name: "PSI", much: 0.25, most: 1, write: value },
  out_of_range_ratio: { name: "out of range", much: 0.01, most: 1, write: percent },
  saturation_ratio: { name: "saturated", much: 0.2, most: 1, write: percent },
};

export const driftPanel = (app) => {
  const body = scroller("Drift");
  const node = el("section", { class: "panel w12", id: "drift", "aria-label": "Drift by feature", hidden: true },
    el("header", {}, el("h2", {}, "Drift by feature"), el("span", { class: "muted" }, "against the statistics of training")), body);

  const draw = () => {
    const measures = [...(app.history.now?.keys() ?? [])].filter((n) => n.startsWith(prefix) && n.slice(prefix.length) in known);
    const features = new Map();
    for (const name of measures) {
      for (const s of app.history.now.get(name)) {
        if (s.labels.model && s.labels.model !== app.model || app.inForce && s.labels.version && s.labels.version !== app.inForce.version || !s.labels.feature) continue;
        if (!features.has(s.labels.feature)) features.set(s.labels.feature, {});
        features.get(s.labels.feature)[name.slice(prefix.length)] = s.value;
      }
    }
    hide(node, features.size === 0);
    if (features.size === 0) return;
    const columns = measures.map((n) => n.slice(prefix.length));
    body.replaceChildren(el("table", {}, el("caption", { class: "hidden" }, "Drift by feature"),
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Feature"), columns.map((c) => el("th", { scope: "col" }, known[c].name)))),
      el("tbody", {}, [...features].slice(0, 64).map(([feature, values]) => el("tr", {}, el("th", { scope: "row" }, feature), columns.map((c) => {
        const k = known[c], v = values[c];
        const much = Math.abs(v) >= k.much;
        return el("td", {}, el("div", { class: "share" }, meter(Math.abs(v), 0, k.most, much ? "bad" : ""), el("span", { class: "num" + (much ? " bad" : "") }, k.write(v))));
      }))))));
  };
  return { node, draw };
};
