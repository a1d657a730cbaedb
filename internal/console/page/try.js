// A form made from the contract, to try an observation, and the answer as bars.
import { answerPanel } from "./answer.js";
import { call, hasKey, modelPath } from "./api.js";
import { byId, el, hide, setText, uid } from "./dom.js";
import { field, flatten, sizeOf } from "./fields.js";

const mostMasks = 128; // boxes

export const tryIt = (root, app) => {
  const form = el("div", {}), options = el("fieldset", {}, el("legend", {}, "Options"));
  const answer = answerPanel();
  const version = el("select", { id: "try-version" });
  const send = el("button", { type: "button", class: "main", id: "try-send" }, "Send");
  const live = el("input", { type: "checkbox", id: "try-live" });
  const trouble = el("p", { class: "notice bad", role: "alert", hidden: true, id: "try-trouble" });
  const request = el("textarea", { rows: 6, spellcheck: "false", id: "try-json", "aria-label": "The request as JSON" });
  const curl = el("pre", { tabindex: 0, "aria-label": "The same with curl" });
  const note = el("p", { class: "muted" });
  root.append(el("div", { class: "grid" },
    el("div", { class: "panel w7" },
      el("header", {}, el("h2", {}, "Observation"), el("label", { class: "field" }, el("span", {}, "Version"), version)),
      note, form, options,
      el("div", { class: "row" }, send,
        el("button", { type: "button", id: "try-random", onclick: () => all("random") }, "Random"),
        el("button", { type: "button", id: "try-zeros", onclick: () => all("zero") }, "Zeros"),
        el("label", { class: "check", for: "try-live" }, live, "Answer as it changes")),
      trouble),
    el("div", { class: "panel w5", "aria-live": "polite", "aria-label": "Answer", role: "region" }, answer.node),
    el("div", { class: "panel w12" },
      el("details", {}, el("summary", {}, "The request as JSON, and with curl"), request,
        el("div", { class: "row" }, el("button", { type: "button", id: "try-apply", onclick: () => apply() }, "Take this request into the form")), curl))));

  let contract = null, fields = [], controls = {}, state = null, busy = false, again = false, of = "";

  const path = () => modelPath(app.model, version.value) + "/predict";

  // body is the request as the form has it.
  const body = () => {
    const list = fields.map((f) => f.get());
    const row = contract.named ? Object.fromEntries(contract.observation.map((f, i) => [f.name, list[i]])) : flatRow(list[0]);
    const b = { observations: [row], deterministic: controls.deterministic?.checked ?? contract.deterministicDefault };
    if (!b.deterministic && controls.seed?.value) b.seed = Number(controls.seed.value);
    if (controls.masks) b.action_masks = [controls.masks.map((m) => m.checked)];
    const wanted = (controls.wanted ?? []).filter((w) => w.checked).map((w) => w.value);
    if (wanted.length) b.return = wanted;
    if (keeps()) b.state = state;
    return b;
  };

  // A row without names is flat, unless it is bytes.
  const flatRow = (v) => (Array.isArray(v) ? flatten(v) : typeof v === "number" ? [v] : v);

  const keeps = () => Boolean(contract.state || contract.envelope?.needsHistory);

  const write = () => {
    try {
      const text = JSON.stringify(body());
      if (document.activeElement !== request) request.value = text;
      const quoted = text.replaceAll("'", "'\\''");
      setText(curl, `curl -s ${new URL(path(), document.baseURI)} -H 'Content-Type: application/json'${hasKey() ? " -H \"X-API-Key: $KEY\"" : ""} -d '${quoted}'`);
    } catch {
      // A field that is no JSON says so itself.
    }
  };

  const changed = () => {
    write();
    if (live.checked) act();
  };

  const all = (what) => {
    for (const f of fields) f[what]();
    changed();
  };

  // act sends the observation; while one is under way the newest waits.
  const act = async () => {
    if (!contract) return;
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    hide(trouble, true);
    const begun = performance.now();
    try {
      const sent = body();
      const got = await call(path(), { method: "POST", body: sent });
      if (got.state !== undefined) state = got.state;
      answer.draw(got, contract, (performance.now() - begun) / 1000);
      if (controls.step) setText(controls.step, String(++controls.steps));
    } catch (e) {
      hide(trouble, false);
      setText(trouble, (e.code ? `${e.code}: ` : "") + e.message);
      if (keeps() && /state/.test(e.message)) state = null;
    }
    busy = false;
    write();
    if (again) {
      again = false;
      act();
    }
  };

  // apply takes a pasted request, or one row of it, into the form.
  const apply = () => {
    hide(trouble, true);
    try {
      const v = JSON.parse(request.value);
      const row = v.observations?.[0] ?? v.observation ?? v;
      take(row);
      if (typeof v.deterministic === "boolean" && controls.deterministic) controls.deterministic.checked = v.deterministic;
      changed();
    } catch (e) {
      hide(trouble, false);
      setText(trouble, "The request cannot be read: " + e.message);
    }
  };

  // take puts a row into the fields: an object, or the values one after another.
  const take = (row) => {
    if (!contract.named) return fields[0].set(row);
    if (!Array.isArray(row)) return contract.observation.forEach((f, i) => f.name in row && fields[i].set(row[f.name]));
    let at = 0;
    contract.observation.forEach((f, i) => {
      const size = sizeOf(f.shape);
      fields[i].set(row.slice(at, at + size));
      at += size;
    });
  };

  // build makes the form of a contract.
  const build = () => {
    state = null;
    controls = {};
    fields = contract.observation.map((f) => field({ ...f, name: f.name || "observation" }, changed));
    form.replaceChildren(...fields.map((f) => f.node));
    const parts = [];
    if (contract.stochastic) {
      controls.deterministic = el("input", { type: "checkbox", checked: contract.deterministicDefault, onchange: changed });
      controls.seed = el("input", { type: "number", min: 0, step: 1, placeholder: "drawn", oninput: changed });
      controls.seed.style.width = "8rem";
      parts.push(el("label", { class: "check" }, controls.deterministic, "Deterministic"), el("label", { class: "field" }, el("span", {}, "Seed"), controls.seed));
    }
    if (contract.return?.length) {
      const discrete = contract.action.some((a) => a.discrete);
      controls.wanted = contract.return.map((name) => el("input", { type: "checkbox", value: name, checked: discrete && name === "distribution", onchange: changed }));
      parts.push(el("div", { class: "wrap", role: "group", "aria-label": "Return besides" }, el("span", { class: "muted" }, "Return besides"),
        controls.wanted.map((w) => el("label", { class: "check" }, w, w.value.replaceAll("_", " ")))));
    }
    if (contract.masks && contract.masks.width <= mostMasks) {
      controls.masks = Array.from({ length: contract.masks.width }, () => el("input", { type: "checkbox", checked: true, onchange: changed }));
      parts.push(el("div", { class: "wrap", role: "group", "aria-label": "Actions that may be taken" }, el("span", { class: "muted" }, "May be taken"),
        controls.masks.map((m, i) => el("label", { class: "check" }, m, String(i)))));
    }
    if (keeps()) {
      controls.steps = 0;
      controls.step = el("b", {}, "0");
      parts.push(el("div", { class: "row" }, el("span", {}, "Steps of this episode: ", controls.step),
        el("button", { type: "button", id: "try-episode", onclick: () => { state = null; controls.steps = 0; setText(controls.step, "0"); write(); } }, "New episode")));
    }
    options.replaceChildren(el("legend", {}, "Options"), el("div", { class: "row" }, parts));
    hide(options, parts.length === 0);
    live.checked = !keeps();
    setText(note, keeps() ? "This policy keeps state from step to step: each Send is the next step of an episode." : "");
    answer.clear();
    write();
    if (live.checked) act();
  };

  const load = async () => {
    const m = app.inForce, list = app.versions?.available_versions?.filter((v) => v.model === app.model && v.state === "ready") ?? [];
    const names = ["", ...list.map((v) => v.version)];
    if (names.join() !== [...version.options].map((o) => o.value).join()) {
      const chosen = version.value;
      version.replaceChildren(...names.map((n) => el("option", { value: n }, n || `in force`)));
      version.value = names.includes(chosen) ? chosen : "";
    }
    const digest = list.find((v) => v.version === version.value)?.digest ?? m?.digest;
    const now = JSON.stringify([app.model, version.value, m?.version, digest, m?.ready]);
    if (now === of) return;
    of = now;
    try {
      contract = await app.contract(version.value || undefined);
      hide(trouble, true);
      build();
      if (app.observation) waiting();
    } catch (e) {
      of = "";
      contract = null;
      form.replaceChildren(el("p", { class: "empty" }, `There is no contract to make a form of: ${e.message}`));
      hide(options, true);
    }
  };

  // waiting takes the observation of a step that was chosen in another view.
  const waiting = () => {
    const row = app.observation;
    app.observation = undefined;
    if (!contract || !row) return;
    take(row);
    changed();
    act();
  };

  send.addEventListener("click", act);
  version.addEventListener("change", load);
  for (const event of ["model", "versions", "key"]) app.on(event, () => !root.closest("section").hidden && load());
  app.on("observation", waiting);
  return { show: load, hide() {} };
};
