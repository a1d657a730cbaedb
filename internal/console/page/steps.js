// The last steps of the experience log, newest first, and a way to put the
// observation of one into the form to try it again.
import { call } from "./api.js";
import { el, scroller, setText } from "./dom.js";
import { clock, count, durationText, value } from "./format.js";
import { samples, sum } from "./metrics.js";

const every = 2000; // ms

// off is what to do where nothing is kept.
export const off = "The experience log is off. Start the server with DATABASE_URL=sqlite:///path/experience.db to keep what goes in and out.";

// lastSteps asks for the last steps. Without a log it tells why there are none.
let missing = false; // the route: a server that has it not is not asked again
export const lastSteps = async (limit) => {
  if (missing) return { off: true, why: off };
  try {
    const got = await call(`v1/experience?limit=${limit}`);
    return { steps: (got.steps ?? []).map(step) };
  } catch (e) {
    missing = e.status === 404;
    if (missing) return { off: true, why: off };
    if (e.status === 409) return { off: true, why: e.message };
    return { why: e.status === 401 || e.status === 403 ? "The steps ask for an API key." : e.message };
  }
};

// step takes what the page shows of a step.
const step = (s) => ({ ...s, at: new Date(typeof s.time === "number" ? s.time * 1000 : s.time) });

export const steps = (root, app) => {
  const limit = el("select", { id: "steps-limit" }, [20, 50, 100, 200].map((n) => el("option", { value: n }, n)));
  const live = el("input", { type: "checkbox", id: "steps-live", checked: true });
  const note = el("p", { class: "muted", role: "status" });
  const table = scroller("Steps");
  root.append(el("div", { class: "panel" },
    el("header", {}, el("div", { class: "row" }, el("label", { class: "field" }, el("span", {}, "Show"), limit), el("label", { class: "check" }, live, "Follow")), note), table));
  let timer = 0, contract = null, of = "";

  const names = (list) => list?.flatMap((f) => { const n = f.shape.reduce((a, b) => a * b, 1); return n > 1 ? Array.from({ length: n }, (_, i) => `${f.name ?? ""}[${i}]`) : [f.name ?? ""]; }) ?? [];

  // few writes the first values of a row, with their names for whoever hovers.
  const few = (values, all, most) => el("span", { title: values.slice(0, 64).map((v, i) => `${all[i] ?? i} ${value(v)}`).join("\n") },
    values.slice(0, most).map(value).join("  ") + (values.length > most ? `  … ${values.length}` : ""));

  // kept tells how the log does.
  const kept = () => {
    const now = app.history.now;
    if (!now || !app.logged) return "";
    const state = samples(now, "carla_rl_experience_state").find((s) => s.value === 1)?.labels.state ?? "";
    return `The log is ${state}: ${count(sum(now, "carla_rl_experience_written_steps_total"))} steps are kept, ${count(sum(now, "carla_rl_experience_lost_steps_total") || 0)} are lost`;
  };

  const read = async () => {
    clearTimeout(timer);
    const m = app.inForce, now = `${app.model} ${m?.version} ${m?.digest}`;
    if (now !== of && m?.ready) {
      of = now;
      contract = await app.contract().catch(() => null);
    }
    const got = app.logged === false ? { off: true, why: off } : await lastSteps(limit.value);
    if (root.closest("section").hidden) return;
    // A row that has the focus stays where it is.
    if (!table.querySelector(":focus")) draw(got);
    if (live.checked && !document.hidden) timer = setTimeout(read, got.off ? 5 * every : every);
  };

  const draw = ({ steps: list, why }) => {
    setText(note, why ?? (list.length === 0 ? "No step was recorded yet." : kept()));
    if (why || list.length === 0) return table.replaceChildren();
    const inputs = names(contract?.observation), outputs = names(contract?.action);
    table.replaceChildren(el("table", {}, el("caption", { class: "hidden" }, "The last steps"),
      el("thead", {}, el("tr", {}, ["When", "Session", "Version", "Observation", "Action"].map((h) => el("th", { scope: "col" }, h)), el("th", { scope: "col", class: "num" }, "Policy"), el("th", { scope: "col" }, el("span", { class: "hidden" }, "Try")))),
      el("tbody", {}, list.map((s) => el("tr", {},
        el("td", { class: "mono" }, clock(s.at)),
        el("td", {}, s.session ? `${s.session.slice(0, 10)} · ${s.session_step}` : el("span", { class: "muted" }, "–")),
        el("td", {}, s.model === app.model ? s.version : `${s.model} ${s.version}`),
        el("td", { class: "mono" }, few(s.observation ?? [], inputs, 7)),
        el("td", { class: "mono" }, few(s.action ?? [], outputs, 4), (s.interventions ?? []).length > 0 && [" ", el("span", { class: "badge warn", title: s.interventions.map((i) => `${i.action} ${i.kind}`).join(", ") }, "changed")]),
        el("td", { class: "num" }, durationText(s.infer_ms / 1000)),
        el("td", { class: "num" }, s.model === app.model && el("button", { type: "button", class: "quiet", "aria-label": `Try the observation of ${clock(s.at)}`, onclick: () => app.observe(s.observation) }, "Try")))))));
  };

  limit.addEventListener("change", read);
  live.addEventListener("change", read);
  for (const event of ["key", "model"]) app.on(event, () => !root.closest("section").hidden && read());
  return { show: read, hide: () => clearTimeout(timer) };
};
