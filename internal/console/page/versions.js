// Models and versions: what answers, what does not and why, and the two acts of
// admins. Their routes ask for a key of their own, and every answer is shown in
// the server's words.
import { call } from "./api.js";
import { el, scroller, uid } from "./dom.js";
import { ago, value } from "./format.js";

const longest = 10 * 60_000; // ms: as long as the server waits for a reload

// stateKinds are the colours of the states that a version can be in.
const stateKinds = { ready: "good", loading: "accent", failed: "bad", quarantined: "bad" };

const badge = (text, kind = "") => el("span", { class: ("badge " + kind).trim() }, text);

export const versions = (root, app) => {
  const table = scroller("Versions");
  const outcome = el("div", { role: "status", id: uid("outcome") });
  const reload = el("button", { type: "button", id: "reload", onclick: () => act("reload") }, "Reload");
  const rollback = el("button", { type: "button", id: "rollback", onclick: () => ask() }, "Roll back");
  const about = el("p", { class: "muted" }), facts = el("div");
  const dialog = el("dialog", { "aria-labelledby": "confirm-title" });
  root.append(
    el("div", { class: "grid" },
      el("div", { class: "panel w12" },
        el("header", {}, el("h2", {}, "What is served"), about), table),
      el("div", { class: "panel w12" },
        el("header", {}, el("h2", {}, "Change what is served")),
        el("p", { class: "muted" }, "Reload looks at the artifact folder now, reads every file and tries what has changed. Roll back returns to the version that answered before. Both ask for a key of the scope admin."),
        el("div", { class: "row", id: "admin" }, reload, rollback), outcome),
      el("div", { class: "panel w12" }, el("header", {}, el("h2", {}, "Contract of the version in force")), facts)),
    dialog);

  const act = async (what) => {
    for (const b of [reload, rollback]) b.disabled = true;
    outcome.replaceChildren(el("p", { class: "empty" }, what === "reload" ? "Reloading…" : "Rolling back…"));
    try {
      const answer = await call("admin/" + what, { method: "POST", body: { model: app.model }, wait: longest });
      outcome.replaceChildren(...told(what, what === "reload" ? answer : { result: answer.result, models: [answer] }));
    } catch (e) {
      outcome.replaceChildren(el("p", { class: "notice bad" }, `Refused${e.code ? ` (${e.code})` : ""}: ${e.message}`));
    }
    for (const b of [reload, rollback]) b.disabled = false;
    await app.refresh();
  };

  // ask makes sure that a rollback is meant.
  const ask = () => {
    const m = app.inForce;
    const yes = el("button", { type: "button", class: "main", onclick: () => { dialog.close(); act("rollback"); } }, "Roll back");
    dialog.replaceChildren(
      el("h2", { id: "confirm-title" }, `Roll ${app.model || "the model"} back?`),
      el("p", {}, m?.previous ? `${m.previous} takes over from ${m.version} at once.` : "The version that answered before takes over at once, if there is one."),
      el("div", { class: "row" }, el("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), yes));
    dialog.showModal();
    yes.focus();
  };

  const draw = () => {
    const v = app.versions;
    const list = v?.available_versions ?? [];
    if (v) {
      const looked = v.root?.checked_at > 0 ? `looked at ${ago(v.root.checked_at)}` : "";
      about.replaceChildren([v.artifacts_root, v.selection_strategy, looked].filter(Boolean).join(" · "));
    }
    const rows = list.map((e) => el("tr", {},
      el("th", { scope: "row" }, e.version, " ", e.answers && badge("in force", "accent"), e.previous && badge("previous"), e.is_stable === false && badge("unstable")),
      el("td", {}, e.model),
      el("td", {}, badge(e.state, stateKinds[e.state]), !e.under_root && [" ", badge("from memory", "warn")]),
      el("td", { class: "why" }, e.reason ? el("span", { class: "bad" }, e.reason) : el("span", { class: "muted", title: e.drift?.why }, [e.hashed && "files verified by their hashes", measured(e.drift)].filter(Boolean).join(" · "))),
      el("td", { class: "num" }, String(e.sessions ?? 0)),
      el("td", { class: "num muted" }, ago(e.since)),
      el("td", { class: "mono muted" }, (e.digest ?? "").slice(0, 12))));
    table.replaceChildren(
      list.length === 0 ? el("p", { class: "empty" }, "Nothing is known of any version yet.")
      : el("table", {}, el("caption", { class: "hidden" }, "Versions of all models"),
        el("thead", {}, el("tr", {}, ["Version", "Model", "State", "Why"].map((h) => el("th", { scope: "col" }, h)),
          ["Sessions", "Since"].map((h) => el("th", { scope: "col", class: "num" }, h)), el("th", { scope: "col" }, "Files"))),
        el("tbody", {}, rows)),
      v?.root?.error && el("p", { class: "notice bad" }, "The artifact folder: " + v.root.error) || "");
    contract();
  };

  // contract shows what goes in and what comes out of the version in force.
  let of = "";
  const contract = async () => {
    const m = app.inForce, now = `${app.model} ${m?.version} ${m?.digest}`;
    if (!m?.ready || now === of) return;
    try {
      const c = await app.contract();
      of = now;
      facts.replaceChildren(...described(c, app.versions?.available_versions?.find((v) => v.model === app.model && v.version === m.version)?.model_card));
    } catch {
      of = ""; // the table says why
    }
  };
  app.on("versions", () => !root.closest("section").hidden && draw());
  return { show: draw, hide: () => dialog.open && dialog.close() };
};

// measured says whether the drift of a version is measured; the title says why not.
const measured = (d) => d && (d.values ? `drift of ${d.values} values measured` : "drift not measured");

// told writes what came of an act.
const told = (what, answer) => {
  const words = { changed: "Done: another version answers now, or has been loaded.", unchanged: "Nothing has changed.", failed: "Not everything could be loaded." };
  const parts = [el("p", { class: "notice" + (answer.result === "failed" ? " bad" : "") },
    el("b", {}, answer.result), ` · ${words[answer.result] ?? ""} `, answer.error && el("span", {}, answer.error),
    answer.took_ms > 0 && el("span", { class: "muted" }, ` (${Math.round(answer.took_ms)} ms)`))];
  for (const m of answer.models ?? []) {
    const lines = [];
    if (m.version) lines.push(`${m.model}: ${m.version} answers` + (m.before ? `, ${m.before} did before` : ""));
    if (m.loaded?.length) lines.push(`loaded: ${m.loaded.join(", ")}`);
    parts.push(el("ul", { class: "outcome" }, lines.map((l) => el("li", {}, l)),
      (m.refused ?? []).map((r) => el("li", { class: "bad" }, `${m.model} ${r.version} was refused: ${r.reason}`))));
  }
  return parts;
};

// described is a contract in words: its features, its actions and what else
// there is to know before one drives with it.
const described = (c, card) => {
  const bounds = (f) => {
    const s = f.space;
    if (s?.n) return `one of ${s.n}`;
    if (s?.nvec) return "choices of " + s.nvec.join(", ");
    if (s?.type === "MultiBinary") return "0 or 1";
    const side = (v, own) => (v ?? own ?? null) === null || Array.isArray(own) && v === null ? "∞" : value(v ?? own);
    const low = side(f.low, s?.low), high = side(f.high, s?.high);
    return low === "∞" && high === "∞" ? "without bounds" : `${low === "∞" ? "−∞" : low} to ${high}`;
  };
  const table = (title, list) => el("table", {}, el("caption", {}, el("h3", {}, title)), el("thead", {}, el("tr", {}, ["Name", "Shape", "Values", "Unit"].map((h) => el("th", { scope: "col" }, h)))),
    el("tbody", {}, list.map((f) => el("tr", {}, el("th", { scope: "row" }, f.name || "without a name"), el("td", {}, f.shape.length ? f.shape.join(" × ") : "1"), el("td", {}, bounds(f)), el("td", { class: "muted" }, f.unit ?? "")))));
  const side = (title, list) => {
    const node = scroller(title);
    node.classList.add("w6");
    node.append(table(title, list));
    return node;
  };
  const rows = [];
  const fact = (what, v) => v && rows.push(el("dt", {}, what), el("dd", {}, v));
  fact("policy", card?.description);
  fact("actions", c.stochastic ? `drawn${c.distribution ? ` (${c.distribution.replaceAll("_", " ")})` : ""}, ${c.deterministicDefault ? "the most likely one" : "a draw"} unless a request says otherwise` : "the same for the same observation");
  fact("state", c.state ? `${c.state.width} numbers, ${c.onVersionChange === "reset" ? "begun again" : "kept on its version"} when the version changes` : "");
  fact("frames", c.frameStack ? `${c.frameStack} stacked by the server` : "");
  fact("masks", c.masks ? `${c.masks.width} values` : "");
  fact("control", c.controlHz ? `${c.controlHz} steps in a second` : "");
  fact("envelope", c.envelope ? c.envelope.limits.map((l) => `${l.action}: ${[l.low !== null || l.high !== null ? `${value(l.low)} to ${value(l.high)}` : "", l.rate ? `${value(l.rate)} /s` : "", l.jerk ? `${value(l.jerk)} /s²` : ""].filter(Boolean).join(", ")}`).join(" · ") + `; fallback ${c.envelope.fallback}` : "");
  fact("digest", c.digest && el("code", {}, c.digest));
  return [el("div", { class: "grid" }, side("Observation", c.observation), side("Action", c.action)), el("dl", { class: "facts" }, rows)];
};
