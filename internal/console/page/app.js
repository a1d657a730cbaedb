// The frame of the page: which view is shown, the key, the theme, and what is
// asked of the server again and again on behalf of all views.
import { call, hasKey, modelPath, Refused, setKey } from "./api.js";
import { byId, el, hide, setText } from "./dom.js";
import { drive } from "./drive.js";
import { durationText } from "./format.js";
import { History, parse } from "./metrics.js";
import { overview } from "./overview.js";
import { steps } from "./steps.js";
import { tryIt } from "./try.js";
import { versions } from "./versions.js";

const metricsEvery = 2000; // ms
const versionsEvery = 4000;

// App is what views know of the page. Its events are "versions" and "metrics"
// after each reading, "model" when another model or version is in force or
// chosen, "key" when the key changed, and "theme".
class App extends EventTarget {
  history = new History();
  versions = null; // the answer of /versions
  metricsTrouble = ""; // why there are no metrics
  model = ""; // that is looked at

  on(name, listener) {
    this.addEventListener(name, listener);
  }

  tell(name) {
    this.dispatchEvent(new Event(name));
  }

  // inForce is the entry of the model that is looked at, or undefined.
  get inForce() {
    return this.versions?.models?.find((m) => m.model === this.model);
  }

  // logged tells whether the server keeps steps, as far as its metrics say it:
  // undefined where they cannot be read.
  get logged() {
    const names = this.history.now?.keys();
    return names && [...names].some((n) => n.startsWith("carla_rl_experience_"));
  }

  // contract asks for the contract of the model, or of one of its versions.
  async contract(version) {
    if (!this.model) throw new Refused(0, "", "no model is known yet");
    return call(modelPath(this.model, version));
  }

  // refresh reads the versions at once, after an act that may have changed them.
  async refresh() {
    await readVersions();
  }

  // observe opens the form to try with an observation.
  observe(row) {
    this.observation = row;
    location.hash = "#try";
    this.tell("observation");
  }
}

const app = new App();

// Views.

const views = { overview, drive, try: tryIt, steps, versions };
const made = {};
let current = "";

const show = () => {
  const name = location.hash.slice(1);
  if (name === "content") return; // the link past the header
  const next = name in views ? name : "overview";
  if (next === current) return;
  if (current) made[current].hide();
  current = next;
  for (const section of document.querySelectorAll("main > section")) hide(section, section.id !== next);
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === "#" + next) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  made[next] ??= views[next](byId(next + "-body"), app);
  made[next].show();
  document.title = `${document.querySelector(`nav a[href="#${next}"]`).textContent} · carla-rl console`;
};

// The state of the server.

const say = (kind, text, why) => {
  byId("state").dataset.kind = kind;
  setText(byId("state-text"), text);
  hide(byId("not-ready"), !why);
  if (why) setText(byId("not-ready"), why);
};

const readState = async () => {
  try {
    await call("readyz");
    const m = app.inForce;
    say("good", m?.version ? `Ready · ${m.model} ${m.version}` : "Ready");
  } catch (e) {
    if (e.status === 0) say("bad", "Unreachable", `No answer: ${e.message}. What is shown below is the last that was read.`);
    else if (e.code === "SHUTTING_DOWN") say("warn", "Stopping", "The server is shutting down.");
    else say("bad", "Not ready", e.message);
  }
};

const lock = (what) => {
  hide(byId("locked"), !what);
  if (what) setText(byId("locked"), what);
};

const readVersions = async () => {
  try {
    app.versions = await call("versions");
    lock("");
  } catch (e) {
    if (e.status === 401) lock(hasKey() ? "The server does not know this API key." : "The server asks for an API key: put it into the field above.");
    else if (e.status === 403) lock("This API key is good for other routes than those of the console.");
    if (e.status === 401 || e.status === 403) app.versions = null;
  }
  models();
  app.tell("versions");
  await readState();
};

// models fills the list of models and tells where what is in force has changed.
let force = "";
const models = () => {
  const list = app.versions?.models ?? [];
  const select = byId("model");
  const names = list.map((m) => m.model);
  if (names.join() !== [...select.options].map((o) => o.value).join()) {
    select.replaceChildren(...names.map((n) => el("option", { value: n }, n)));
  }
  hide(byId("model-field"), names.length < 2);
  if (!names.includes(app.model)) app.model = names.includes(app.versions?.current_model) ? app.versions.current_model : (names[0] ?? "");
  select.value = app.model;
  const m = app.inForce;
  const now = JSON.stringify([app.model, m?.version, m?.digest, m?.ready]);
  if (now !== force) {
    force = now;
    app.tell("model");
  }
};

const readMetrics = async () => {
  const begun = performance.now();
  try {
    app.history.add(parse(await call("metrics", { text: true })));
    app.metricsTrouble = "";
    setText(byId("polled"), `Metrics read every ${metricsEvery / 1000} s, in ${durationText((performance.now() - begun) / 1000)}`);
  } catch (e) {
    app.metricsTrouble =
      e.status === 404 ? "This address has no metrics: they are off, or on a port of their own (monitoring.metrics_port)."
      : e.status === 403 && !e.code ? "Something between this page and the server keeps the metrics for itself."
      : e.status === 401 || e.status === 403 ? "The metrics ask for a key of the scope metrics or admin."
      : e.message;
    setText(byId("polled"), "");
  }
  app.tell("metrics");
};

// repeat runs a reading again and again, one at a time, and not while nobody
// looks: a page in the background asks for nothing.
const repeat = (read, every) => {
  let timer, running = false, soon = false;
  const run = async () => {
    clearTimeout(timer);
    if (running) soon = true; // what is under way may be of before a change
    if (running || document.hidden) return;
    running = true;
    await read();
    running = false;
    timer = setTimeout(run, soon ? 0 : every);
    soon = false;
  };
  document.addEventListener("visibilitychange", run);
  run();
  return run;
};

// Key and theme.

const keyChanged = () => {
  setKey(byId("key").value);
  hide(byId("key-forget"), !hasKey());
  app.tell("key");
  readAgain();
};

const themeNames = { system: "System", light: "Light", dark: "Dark" };
const showTheme = () => setText(byId("theme-name"), themeNames[themes.stored()] ?? "System");

// readAbout tells what the server is, from a route that asks for no key.
const readAbout = async () => {
  try {
    const h = await call("healthz");
    const m = await call("v2").catch(() => undefined);
    setText(byId("about"), ["carla-rl-serving", m?.version, h.git, h.device].filter(Boolean).join(" · "));
  } catch {
    // The state of the server says it.
  }
};

byId("key").addEventListener("change", keyChanged);
byId("key-forget").addEventListener("click", () => {
  byId("key").value = "";
  keyChanged();
  byId("key").focus();
});
byId("theme").addEventListener("click", () => {
  const order = Object.keys(themeNames);
  themes.set(order[(order.indexOf(themes.stored()) + 1) % order.length]);
  showTheme();
  app.tell("theme");
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => app.tell("theme"));
byId("model").addEventListener("change", () => {
  app.model = byId("model").value;
  models();
  readState();
});
addEventListener("hashchange", show);

showTheme();
show();
const again = [repeat(readVersions, versionsEvery), repeat(readMetrics, metricsEvery)];
const readAgain = () => {
  for (const run of again) run();
  readAbout();
};
readAbout();
