// How the server does, live: requests, errors, time by stage, actions,
// interventions and drift, from its metrics alone. All counts are of the process
// that answers, all rates of the last seconds.
import { actions } from "./actions.js";
import { driftPanel } from "./drift.js";
import { el, hide, scroller, setText } from "./dom.js";
import { bytes, count, duration, durationText, percent, rate, span } from "./format.js";
import { quantile, samples, sum } from "./metrics.js";
import { chart, meter, spark } from "./plot.js";

const brief = 6; // seconds that rates are of

// Routes that answer with actions; what the console itself asks is left out.
const acting = (endpoint) => /\/(predict|infer|act)$/.test(endpoint ?? "");
const own = (endpoint) => /^(other|\/(console.*|docs.*|versions|metrics|[a-z]+z|openapi\.json|metadata|v1\/experience|v1\/models|v2|v2\/health\/.*)?)$/.test(endpoint ?? "");
const failed = (status) => status >= "400";

const stages = [
  { stage: "decode", name: "decode", color: "s4", what: "the request read and held to the contract" },
  { stage: "queue", name: "queue", color: "s3", what: "until a lane was free" },
  { stage: "policy", name: "policy", color: "s1", what: "the policy's graph" },
  { stage: "encode", name: "encode", color: "s2", what: "the envelope and the answer" },
];

const tile = (title) => {
  const number = el("span"), unit = el("span", { class: "unit" }), sub = el("div", { class: "sub" }), course = spark();
  const node = el("div", { class: "tile" }, el("dt", {}, title), el("dd", {}, el("div", { class: "big" }, number, unit), sub, course.node));
  const draw = ([v, u], below, values, kind = "") => {
    setText(number, v);
    setText(unit, u);
    setText(sub, below);
    number.className = kind;
    course.draw(values ?? []);
  };
  return { node, draw };
};

export const overview = (root, app) => {
  const h = app.history;
  const t = { requests: tile("Requests for actions"), errors: tile("Errors"), mean: tile("Mean time"), p99: tile("99th percentile"), load: tile("At work"), memory: tile("Memory") };
  const trouble = el("p", { class: "notice", hidden: true });
  const traffic = chart({
    label: "Requests in a second", write: (v) => (Number.isFinite(v) ? rate(v) : "–"),
    series: [{ name: "answered", color: "s1" }, { name: "errors", color: "sb" }],
  });
  const time = chart({
    label: "Mean time of a request by stage", write: (v) => (Number.isFinite(v) ? durationText(v) : "–"), stacked: true,
    series: stages.map((s) => ({ name: s.name, color: s.color })),
  });
  const stageTable = scroller("Stages"), routeTable = scroller("Routes"), errorTable = scroller("Errors");
  const panel = (wide, title, note, ...inside) => el("section", { class: `panel ${wide}`, "aria-label": title }, el("header", {}, el("h2", {}, title), el("span", { class: "muted" }, note)), ...inside);
  const shownActions = actions(app), drift = driftPanel(app);
  root.append(trouble, el("div", { class: "grid" },
    el("dl", { class: "tiles" }, Object.values(t).map((one) => one.node)),
    panel("w6", "Requests", "in a second", traffic.node),
    panel("w6", "Time in the server", "mean of a request, by stage", time.node),
    panel("w6", "Stages of a request", "the last half minute", stageTable),
    panel("w6", "Routes", "the last half minute", routeTable),
    shownActions.node, drift.node,
    panel("w12", "Errors and refusals", "since the process began", errorTable)));

  const model = () => (app.model ? { model: app.model } : {});

  // read makes the next point of every series.
  const read = () => {
    const now = h.now;
    const answered = h.rate("carla_rl_stage_duration_seconds_count", { ...model(), stage: "policy" }, brief);
    const bad = h.rate("http_requests_total", { endpoint: acting, status: failed }, brief) + h.rate("carla_rl_stream_messages_total", { result: "error" }, brief);
    h.record("answered", answered);
    h.record("bad", bad);
    let total = 0;
    for (const s of stages) {
      const all = h.recent("carla_rl_stage_duration_seconds", { ...model(), stage: s.stage }, brief);
      const mean = all.count > 0 ? all.sum / all.count : NaN;
      h.record("stage " + s.stage, mean);
      total += mean;
    }
    h.record("mean", total);
    h.record("p99", quantile(h.recent("http_request_duration_seconds", { endpoint: acting }, brief), 0.99));
    h.record("active", sum(now, "carla_rl_lanes_busy"));
    h.record("memory", sum(now, "process_resident_memory_bytes"));
  };

  const draw = () => {
    hide(trouble, !app.metricsTrouble);
    setText(trouble, app.metricsTrouble);
    if (!h.now || root.closest("section").hidden) return;
    const now = h.now, of = (name) => h.series.get(name) ?? { at: [], values: [] };
    const latest = (name) => of(name).values.at(-1);
    const total = sum(now, "carla_rl_stage_duration_seconds_count", { ...model(), stage: "policy" });
    const answered = latest("answered"), bad = latest("bad");
    t.requests.draw([rate(answered), "/s"], `${count(total || 0)} in all`, of("answered").values);
    const share = bad > 0 ? bad / (bad + answered) : 0;
    t.errors.draw(Number.isFinite(bad) ? percent(share).split(" %").map((v, i) => (i ? "%" : v)) : ["–", ""], Number.isFinite(bad) ? `${rate(bad)} /s` : "", of("bad").values, share > 0.01 ? "bad" : "");
    t.mean.draw(duration(latest("mean")), "in the server", of("mean").values);
    const http = h.recent("http_request_duration_seconds", { endpoint: acting });
    t.p99.draw(duration(quantile(http, 0.99)), http.count > 0 ? `over HTTP, median ${durationText(quantile(http, 0.5))}` : "over HTTP", of("p99").values);
    const lanes = sum(now, "carla_rl_lanes"), waiting = sum(now, "carla_rl_request_queue_length");
    t.load.draw([count(sum(now, "carla_rl_lanes_busy")), `of ${count(lanes)} lanes`], `${count(waiting)} waiting · ${streams(sum(now, "carla_rl_streams"))}`, of("active").values);
    const limit = sum(now, "carla_rl_memory_limit_bytes");
    t.memory.draw(bytes(sum(now, "process_resident_memory_bytes")), (Number.isFinite(limit) ? `of ${bytes(limit).join(" ")} · ` : "") + `up ${span(sum(now, "carla_rl_service_uptime_seconds"))}`, of("memory").values);
    traffic.draw(of("answered").at, [of("answered").values, of("bad").values]);
    time.draw(of("mean").at, stages.map((s) => of("stage " + s.stage).values));
    drawStages();
    drawRoutes();
    drawErrors();
    shownActions.draw();
    drift.draw();
  };

  const head = (...names) => el("thead", {}, el("tr", {}, names.map((n, i) => el("th", { scope: "col", class: i > 0 && n !== "Where" && n !== "Share" ? "num" : null }, n))));

  const drawStages = () => {
    const rows = stages.map((s) => ({ ...s, h: h.recent("carla_rl_stage_duration_seconds", { ...model(), stage: s.stage }) }));
    const whole = rows.reduce((n, r) => n + (r.h.count > 0 ? r.h.sum : 0), 0);
    stageTable.replaceChildren(el("table", {}, el("caption", { class: "hidden" }, "Time of each stage of a request"), head("Stage", "Mean", "P50", "P95", "P99", "Share"),
      el("tbody", {}, rows.map((r) => el("tr", {}, el("th", { scope: "row", title: r.what }, r.name),
        [r.h.count > 0 ? r.h.sum / r.h.count : NaN, quantile(r.h, 0.5), quantile(r.h, 0.95), quantile(r.h, 0.99)].map((v) => el("td", { class: "num" }, durationText(v))),
        el("td", {}, share(r.h.sum / whole)))))));
  };

  const drawRoutes = () => {
    const routes = new Map();
    for (const s of h.now.get("http_requests_total") ?? []) {
      if (own(s.labels.endpoint) || s.labels.endpoint.startsWith("/v1/models/") && !acting(s.labels.endpoint)) continue;
      routes.set(s.labels.endpoint, (routes.get(s.labels.endpoint) ?? 0) + s.value);
    }
    const streams = h.rate("carla_rl_stream_messages_total");
    const rows = [...routes].sort((a, b) => b[1] - a[1]).slice(0, 8).map(([endpoint]) => {
      const times = h.recent("http_request_duration_seconds", { endpoint });
      return el("tr", {}, el("th", { scope: "row", class: "mono" }, endpoint), el("td", { class: "num" }, rate(h.rate("http_requests_total", { endpoint }))),
        bad(h.rate("http_requests_total", { endpoint, status: failed })),
        [0.5, 0.99].map((q) => el("td", { class: "num" }, durationText(quantile(times, q)))));
    });
    if (sum(h.now, "carla_rl_stream_messages_total") > 0) {
      rows.unshift(el("tr", {}, el("th", { scope: "row" }, "messages of streams"), el("td", { class: "num" }, rate(streams)),
        bad(h.rate("carla_rl_stream_messages_total", { result: "error" })), el("td", { class: "num muted" }, "–"), el("td", { class: "num muted" }, "–")));
    }
    routeTable.replaceChildren(rows.length === 0 ? el("p", { class: "empty" }, "No request has come yet. Try one, or start the drive.")
      : el("table", {}, el("caption", { class: "hidden" }, "Requests by route"), head("Route", "/s", "Errors /s", "P50", "P99"), el("tbody", {}, rows)));
  };

  const drawErrors = () => {
    const rows = [];
    const add = (name, what, where, want) => {
      const n = sum(h.now, name, want);
      if (n > 0) rows.push({ what, where, n, rate: h.rate(name, want) });
    };
    for (const s of h.now.get("carla_rl_errors_total") ?? []) add("carla_rl_errors_total", s.labels.error_type, s.labels.endpoint, s.labels);
    for (const s of h.now.get("carla_rl_requests_rejected_total") ?? []) add("carla_rl_requests_rejected_total", s.labels.reason, "turned away", s.labels);
    for (const s of samples(h.now, "carla_rl_model_load_failures_total")) add("carla_rl_model_load_failures_total", "load failed", `${s.labels.model} ${s.labels.version}`, s.labels);
    for (const s of samples(h.now, "carla_rl_quarantines_total")) add("carla_rl_quarantines_total", "quarantined", `${s.labels.model} ${s.labels.version}`, s.labels);
    add("carla_rl_panics_total", "panic of a handler", "", {});
    rows.sort((a, b) => b.rate - a.rate || b.n - a.n);
    errorTable.replaceChildren(rows.length === 0 ? el("p", { class: "empty" }, "None.")
      : el("table", {}, el("caption", { class: "hidden" }, "Errors by code"), head("What", "Where", "In all", "/s"),
        el("tbody", {}, rows.slice(0, 12).map((r) => el("tr", {}, el("th", { scope: "row", class: "mono" }, r.what), el("td", { class: "mono muted" }, r.where),
          el("td", { class: "num" }, count(r.n)), bad(r.rate))))));
  };

  app.on("metrics", () => {
    if (!app.metricsTrouble) read();
    draw();
  });
  app.on("model", () => {
    for (const name of [...h.series.keys()]) if (name !== "memory" && name !== "active") h.series.delete(name);
    draw();
  });
  return { show: draw, hide() {} };
};

const streams = (n) => `${count(n)} ${n === 1 ? "stream" : "streams"}`;

const bad = (v) => el("td", { class: "num" + (v > 0 ? " bad" : "") }, rate(v));

const share = (v) => {
  const bar = meter(v, 0, 1);
  bar.setAttribute("aria-hidden", "true");
  return el("div", { class: "share" }, bar, el("span", { class: "num" }, percent(v)));
};
