// The elements of the drive: the picture, what it is controlled by, and the
// same in words and numbers.
import { el, uid } from "./dom.js";
import { DELAY_MAX } from "./disturb.js";

export const SENSORS = ["far left", "left", "ahead", "right", "far right"];
export const ACTIONS = [["throttle", 0, 1], ["brake", 0, 1], ["steer", -1, 1]];

const keyed = (key, name, attributes = {}) =>
  el("button", { type: "button", "aria-keyshortcuts": key, title: `${name} (${key})`, ...attributes }, name);

const field = (name, input, note) => {
  input.id ||= uid("drive");
  return el("div", { class: "drive-field" }, el("label", { for: input.id }, name), input, note && el("span", { class: "muted" }, note));
};

const slider = (name, attributes, unit) => {
  const id = uid("drive"), out = el("output", { class: "num", for: id });
  const input = el("input", { type: "range", id, ...attributes });
  const show = () => {
    const text = unit === "steps" ? `${input.value} ${input.value === "1" ? "step" : "steps"}` : `${Math.round(Number(input.value) * 100)} %`;
    out.textContent = text;
    input.setAttribute("aria-valuetext", text);
  };
  input.addEventListener("input", show);
  show();
  return { input, show, row: el("div", { class: "slider" }, el("label", { for: id }, name), input, out) };
};

// bar is a value between two bounds, as a bar and as a number.
const bar = (name, low, high) => {
  const fill = el("i"), told = el("i", { class: "told" }), number = el("span", { class: "num" }, "–");
  const meter = el("span", { class: "meter", "aria-hidden": "true" }, fill, low < 0 && el("i", { class: "zero" }), told);
  told.hidden = true;
  const place = (v) => (Math.min(Math.max(v, low), high) - low) / (high - low) * 100;
  if (low < 0) meter.querySelector(".zero").style.left = `${place(0)}%`;
  return {
    row: el("div", { class: "answer" }, el("span", {}, name), meter, number),
    set(v, other = v) {
      const from = place(Math.max(low, Math.min(0, v))), to = place(Math.max(0, v));
      fill.style.left = `${low < 0 ? from : 0}%`;
      fill.style.width = `${low < 0 ? to - from : place(v)}%`;
      told.hidden = Math.abs(other - v) < 0.004;
      told.style.left = `calc(${place(other)}% - 1px)`;
      number.textContent = told.hidden ? v.toFixed(2) : `${v.toFixed(2)} → ${other.toFixed(2)}`;
    },
  };
};

// build makes all elements under root and returns those that change.
export const build = (root) => {
  const p = {
    canvas: el("canvas", { class: "drive-canvas", role: "img", "aria-label": "The road from above, with the car, its sensors as rays and its trail. What it shows is told in words below." }),
    banner: el("p", { class: "drive-banner", hidden: true }),
    status: el("p", { class: "hidden", role: "status" }),
    run: keyed("P", "Drive", { class: "main" }),
    step: keyed("S", "Step"),
    restart: keyed("R", "Restart"),
    next: keyed("N", "Next road"),
    seed: el("input", { type: "number", min: 0, max: Number.MAX_SAFE_INTEGER, step: 1, value: 1, class: "drive-seed" }),
    pace: el("select", {}, el("option", { value: 1 }, "As on the road"), el("option", { value: 2 }, "Twice"), el("option", { value: 4 }, "Four times"), el("option", { value: 0 }, "As fast as it answers")),
    goOn: el("input", { type: "checkbox", checked: true }),
    chase: el("input", { type: "checkbox", checked: true }),
    version: el("select"),
    ghost: el("select"),
    noise: slider("Noise", { min: 0, max: 0.5, step: 0.01, value: 0 }),
    bias: slider("Bias", { min: -0.5, max: 0.5, step: 0.01, value: 0 }),
    delay: slider("Delay", { min: 0, max: DELAY_MAX, step: 1, value: 0 }, "steps"),
    dead: el("select", {}, el("option", { value: -1 }, "none"), SENSORS.map((name, i) => el("option", { value: i }, name))),
    clean: keyed("C", "Clean"),
    hard: keyed("H", "Disturb hard"),
    actions: ACTIONS.map(([name, low, high]) => bar(name, low, high)),
    sensors: SENSORS.map((name) => bar(name, 0, 1)),
    envelope: el("p", { class: "muted" }),
    latency: el("canvas", { class: "drive-latency", "aria-hidden": "true" }),
    times: el("p", { class: "drive-times" }, "No step yet."),
    words: el("p", {}, "No drive yet."),
    now: el("dl", { class: "facts" }),
    drives: el("tbody"),
  };
  p.fields = Object.fromEntries(["Speed", "Distance", "Time", "Version", "Ghost"].map((name) => {
    const value = el("dd", {}, "–");
    p.now.append(el("dt", {}, name), value);
    return [name, value];
  }));
  const check = (input, text) => el("label", { class: "check" }, input, text);
  p.stage = el("div", { class: "drive-stage", tabindex: 0, role: "group", "aria-label": "The drive. Keys: P drives and pauses, S makes a step, R restarts, N takes the next road, H disturbs the sensors hard, C leaves them clean." }, p.canvas, p.banner);
  const panel = (title, ...children) => el("section", { class: "panel" }, el("header", {}, el("h2", {}, title)), ...children);
  root.append(
    p.status,
    el("div", { class: "drive" },
      el("div", { class: "drive-main" },
        p.stage,
        el("div", { class: "row drive-bar" }, p.run, p.step, p.restart, p.next,
          field("Road", p.seed), field("Pace", p.pace), check(p.goOn, "Go on to the next road"), check(p.chase, "Turn with the car")),
        el("div", { class: "drive-below" },
          panel("Now", p.now),
          panel("Time of a step", p.latency, p.times)),
        panel("Drives", el("div", { class: "drive-table", tabindex: 0, role: "region", "aria-label": "The last drives" }, el("table", {},
          el("caption", { class: "hidden" }, "The last drives, the newest first"),
          el("thead", {}, el("tr", {}, ["Road", "Version", "Sensors", "End", "Distance", "Time", "Mean speed"].map((h, i) => el("th", { scope: "col", class: i > 3 && "num" }, h)))),
          p.drives)))),
      el("div", { class: "drive-side" },
        panel("Who drives", field("Version", p.version), field("Ghost", p.ghost)),
        panel("Action", p.actions.map((b) => b.row), p.envelope),
        panel("Sensors", p.sensors.map((b) => b.row)),
        panel("Disturb the sensors", p.noise.row, p.bias.row, p.delay.row, field("Dead", p.dead), el("div", { class: "row" }, p.clean, p.hard)),
        el("section", { class: "panel" }, el("details", {}, el("summary", {}, "The picture in words"), p.words)))),
  );
  return p;
};
