// The answer to one observation: each value of the action as a bar between its
// bounds, the chances of discrete ones, what the envelope changed, the time.
import { el } from "./dom.js";
import { flatten, sizeOf } from "./fields.js";
import { durationText, value } from "./format.js";
import { meter } from "./plot.js";

const mostBars = 64;

export const answerPanel = () => {
  const node = el("div");
  const clear = () => node.replaceChildren(el("header", {}, el("h2", {}, "Answer")), el("p", { class: "empty" }, "Nothing was sent yet."));

  const draw = (got, contract, took) => {
    const changed = new Map((got.interventions ?? []).map((i) => [i.action, i]));
    const bars = el("div", { class: "answer", id: "answer" });
    let shown = 0;
    contract.action.forEach((a, i) => {
      const row = got.actions[0];
      const name = a.name ?? (contract.action.length > 1 ? `action_${i}` : "action");
      const named = row !== null && typeof row === "object" && !Array.isArray(row);
      const values = flatten(named ? row[name] : contract.action.length > 1 && Array.isArray(row) ? row[i] : row);
      values.forEach((v, k) => {
        if (shown++ >= mostBars) return;
        const label = sizeOf(a.shape) > 1 ? `${name}[${k}]` : name;
        const n = a.space?.n ?? a.space?.nvec?.[k];
        const own = (side, or) => { const b = a[side] ?? (Array.isArray(a.space?.[side]) ? a.space[side][k] : a.space?.[side]); return Number.isFinite(b) ? b : or; };
        const bar = a.discrete ? meter(v + 1, 0, n ?? v + 1) : meter(v, own("low", -Math.max(1, Math.abs(v))), own("high", Math.max(1, Math.abs(v))), changed.has(label) ? "warn" : "");
        bars.append(el("span", {}, label, n && el("span", { class: "muted" }, ` of ${n}`), changed.has(label) && [" ", el("span", { class: "badge warn" }, "changed")]), bar, el("span", { class: "num", "data-action": label }, value(v)));
      });
    });
    const facts = [];
    const fact = (what, v) => facts.push(el("dt", {}, what), el("dd", {}, v));
    fact("version", `${got.model} ${got.version}`);
    fact("how", got.deterministic ? "the most likely action" : got.seed !== undefined ? `drawn, seed ${got.seed}` : "drawn");
    for (const name of ["value", "log_prob", "entropy"]) if (got[name]) fact(name.replaceAll("_", " "), value(got[name][0]));
    if (got.raw_action) fact("raw action", flatten(Object.values({ v: got.raw_action[0] }).flatMap((v) => (v && typeof v === "object" && !Array.isArray(v) ? Object.values(v) : [v]))).slice(0, 16).map(value).join(", "));
    if (got.unheld) fact("not held to", got.unheld.join(", "));
    fact("round trip", durationText(took));
    for (const i of got.interventions ?? []) fact(i.action, `${i.kind.replaceAll("_", " ")}: ${value(i.from)} became ${value(i.to)}` + (i.fallback ? ` (${i.fallback})` : "") + (i.feature ? `, by ${i.feature}` : ""));
    node.replaceChildren(el("header", {}, el("h2", {}, "Answer"), el("span", { class: "muted" }, durationText((got.timingMs ?? NaN) / 1000) + " in the policy")),
      bars, shown > mostBars ? el("p", { class: "muted" }, `and ${shown - mostBars} more values`) : "", chances(got.distribution?.[0], contract), times(got.timing), el("dl", { class: "facts" }, facts),
      el("details", {}, el("summary", {}, "As JSON"), el("pre", { tabindex: 0, id: "answer-json", "aria-label": "The answer as JSON" }, JSON.stringify(got, null, 1))));
  };
  clear();
  return { node, draw, clear };
};

// chances are the probabilities that a discrete action was chosen by, and mean
// and deviation of one that is not.
const chances = (d, contract) => {
  if (!d) return "";
  const probs = d.probs ? flatten(d.probs) : null;
  const rows = [];
  if (probs) {
    const parts = contract.masks?.parts ?? contract.action.flatMap((a) => a.space?.nvec ?? [a.space?.n ?? probs.length]);
    let part = 0, k = 0;
    probs.slice(0, mostBars).forEach((p) => {
      rows.push(el("span", {}, d.kind === "bernoulli" || parts.length === 1 ? String(rows.length / 3) : `${part}: ${k}`), meter(p, 0, 1), el("span", { class: "num" }, p === null ? "–" : p.toFixed(3)));
      if (++k >= parts[part]) { part++; k = 0; }
    });
  } else if (d.mean && d.std) {
    const mean = flatten(d.mean), std = flatten(d.std);
    mean.slice(0, mostBars).forEach((m, i) => rows.push(el("span", {}, String(i)), el("span", { class: "muted" }, `σ ${value(std[i])}`), el("span", { class: "num" }, value(m))));
  }
  return el("details", { open: Boolean(probs) }, el("summary", {}, `Distribution: ${d.kind.replaceAll("_", " ")}`), el("div", { class: "answer" }, rows));
};

// times is a bar of where the time went.
const times = (t) => {
  if (!t) return "";
  const parts = [["preprocess_ms", "read", "p4"], ["queue_ms", "queue", "p3"], ["infer_ms", "policy", "p1"], ["postprocess_ms", "write", "p2"]].filter(([k]) => t[k] !== undefined);
  const whole = parts.reduce((n, [k]) => n + t[k], 0) || 1;
  const bar = el("div", { class: "split", "aria-hidden": "true" }, parts.map(([k, , kind]) => {
    const i = el("i", { class: kind });
    i.style.width = (t[k] / whole) * 100 + "%";
    return i;
  }));
  return el("div", { class: "times" }, bar, el("p", { class: "muted" }, parts.map(([k, name]) => `${name} ${durationText(t[k] / 1000)}`).join(" · ")));
};
