// Actions as they leave: how the values of each lie between its bounds, how many
// lie at a bound, and what the envelope changed. The shares are of all actions,
// from the metrics; the histograms are of the last steps, from the experience
// log, where there is one.
import { el, hide, setText } from "./dom.js";
import { percent, rate, value } from "./format.js";
import { samples, sum } from "./metrics.js";
import { choices, histogram, meter } from "./plot.js";
import { lastSteps, off } from "./steps.js";

const enough = 200; // steps of a histogram
const every = 4000; // ms between two readings of them

export const actions = (app) => {
  const body = el("div", { class: "actions" }), note = el("span", { class: "muted" });
  const node = el("section", { class: "panel w12", "aria-label": "Actions as they leave" }, el("header", {}, el("h2", {}, "Actions as they leave"), note), body);
  let contract = null, of = "", last = null, read = -Infinity, why = "";

  const load = async () => {
    const m = app.inForce, now = `${app.model} ${m?.version} ${m?.digest}`;
    if (now === of || !m?.ready) return; // what is known of another stays until then
    of = now;
    try {
      contract = await app.contract();
    } catch {
      of = "";
    }
  };

  const recent = async () => {
    if (app.logged === false) {
      last = null;
      why = off;
      return;
    }
    if (performance.now() - read < every) return;
    read = performance.now();
    const got = await lastSteps(enough);
    why = got.why ?? "";
    last = got.steps?.filter((s) => s.model === app.model && s.version === contract?.version) ?? null;
  };

  const draw = async () => {
    await load();
    await recent();
    const h = app.history;
    if (!contract || !h.now) return;
    setText(note, last?.length ? `histograms of the last ${last.length} steps` : "");
    const want = { model: contract.modelName, version: contract.version };
    let place = 0;
    const cards = contract.action.flatMap((a, i) => {
      const size = a.shape.reduce((x, y) => x * y, 1), first = place;
      place += size;
      const name = a.name ?? (contract.action.length > 1 ? `action_${i}` : "action");
      // The metrics of an action without a name go by its place.
      const labels = samples(h.now, "carla_rl_action_values_total", want).map((s) => s.labels.action);
      const label = labels.includes(name) ? name : labels[i] ?? name;
      return size <= 8 ? Array.from({ length: size }, (_, k) => card(a, size > 1 ? `${name}[${k}]` : name, label, first + k, k)) : [card(a, `${name}, ${size} values`, label, -1, 0)];
    });
    body.replaceChildren(...cards, ...(cards.length ? [] : [el("p", { class: "empty" }, "The contract has no actions.")]));
    if (why) body.append(el("p", { class: "muted hint" }, why));
  };

  const card = (a, name, label, place, k) => {
    const h = app.history, want = { model: contract.modelName, version: contract.version, action: label };
    const facts = [];
    const fact = (what, v, kind = "") => facts.push(el("dt", {}, what), el("dd", { class: ("num " + kind).trim() }, v));
    const total = sum(h.now, "carla_rl_action_values_total", want);
    let bar = null;
    if (total > 0) {
      const at = (bound) => sum(h.now, "carla_rl_action_saturated_total", { ...want, bound }) / total;
      const low = at("low"), high = at("high");
      bar = [el("div", { class: "ends" }, el("span", {}, value(a.low)), el("span", {}, value(a.high))), threeParts(low, high)];
      fact("at the low end", percent(low || 0));
      fact("at the high end", percent(high || 0));
    }
    const kinds = new Map();
    for (const s of samples(h.now, "carla_rl_interventions_total", want)) kinds.set(s.labels.kind, s);
    if (contract.envelope) {
      fact("changed by the envelope", kinds.size ? `${rate(h.rate("carla_rl_interventions_total", want))} /s` : "never", kinds.size ? "warn" : "");
      for (const [kind, s] of kinds) fact(kind.replaceAll("_", " "), String(s.value), "warn");
    }
    let plot = null;
    if (last?.length && place >= 0) {
      const values = last.map((s) => s.action[place]).filter(Number.isFinite);
      const n = a.space?.n ?? a.space?.nvec?.[k];
      plot = a.discrete && n <= 64 ? choices(values, n, `${name} of the last steps`) : histogram(values, a.low, a.high, { label: `${name} of the last steps` });
      if (values.length) fact("last", value(values[0]));
    }
    if (!facts.length) fact("bounds", a.discrete ? "discrete" : "none");
    return el("div", { class: "action" }, el("h3", {}, name), plot, bar, el("dl", { class: "facts" }, facts));
  };
  return { node, draw };
};

// threeParts is a bar of the shares at the low end, between and at the high end.
const threeParts = (low, high) => {
  const node = el("div", { class: "split", "aria-hidden": "true" });
  for (const [share, kind] of [[low || 0, "p3"], [Math.max(0, 1 - (low || 0) - (high || 0)), "p1"], [high || 0, "p3"]]) {
    const part = el("i", { class: kind });
    part.style.width = share * 100 + "%";
    node.append(part);
  }
  return node;
};
