// The drive: a car on its road, controlled by the version in force.
//
// Nothing is asked of the server before somebody starts it: a drive is traffic
// as any other, which is counted and recorded.
import { el, hide, setText } from "./dom.js";
import { HARD, CLEAN, isClean } from "./disturb.js";
import { SENSORS, build } from "./drive_panel.js";
import { Run } from "./drive_run.js";
import { DriveView, poseAt } from "./drive_view.js";
import { Latency } from "./latency.js";
import { ROAD_LENGTH } from "./physics.js";
import { contractOf, fit } from "./pilot.js";

const KEPT = 12; // drives in the table
const REST = 1600; // ms between the end of a drive and the next
const SOON = 900; // ms that the picture is still drawn for when nothing moves

const ENDS = { success: "lap", crashed: "left the road", truncated: "out of time" };
const endOf = (car) => (car.success ? "success" : car.crashed ? "crashed" : "truncated");

class Drive {
  constructor(root, app) {
    this.root = root;
    this.app = app;
    this.p = build(root);
    this.view = new DriveView(this.p.canvas);
    this.latency = new Latency(this.p.latency);
    this.run = null;
    this.running = this.busy = false;
    this.why = ""; // why the version cannot drive
    this.laps = this.crashes = 0;
    this.shown = false;
    this.awake = 0;
    this.settings = { ...CLEAN };
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
      this.p.chase.checked = this.view.chase = false;
      this.p.goOn.checked = false;
    }
    this.listen();
    this.place();
    app.on("model", () => this.choose());
    app.on("versions", () => this.fillChoices());
    app.on("theme", () => {
      this.latency.draw();
      this.wake();
    });
    app.on("key", () => this.stop());
    this.state("idle");
  }

  show() {
    this.shown = true;
    this.fillChoices();
    this.choose();
    this.wake();
  }

  hide() {
    this.shown = false;
    this.pause("paused, because the drive is not shown");
  }

  listen() {
    const { p } = this;
    p.run.addEventListener("click", () => this.toggle());
    p.step.addEventListener("click", () => this.stepOnce());
    p.restart.addEventListener("click", () => this.restart());
    p.next.addEventListener("click", () => this.nextRoad());
    p.seed.addEventListener("change", () => this.restart());
    p.version.addEventListener("change", () => this.choose());
    p.ghost.addEventListener("change", () => this.restart());
    p.chase.addEventListener("change", () => {
      this.view.chase = p.chase.checked;
      this.wake();
    });
    for (const { input } of [p.noise, p.bias, p.delay]) input.addEventListener("input", () => this.readSettings());
    p.dead.addEventListener("change", () => this.readSettings());
    p.clean.addEventListener("click", () => this.disturb(CLEAN));
    p.hard.addEventListener("click", () => this.disturb(HARD));
    new ResizeObserver(() => this.wake()).observe(p.canvas);
    this.root.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.pause("paused, because the page is in the background");
    });
    addEventListener("pagehide", () => this.run?.close());
  }

  // key takes the keys of the buttons, where the focus is in the drive and not
  // where letters are written.
  key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input:not([type=range],[type=checkbox]), select")) return;
    const { p } = this;
    const button = { p: p.run, s: p.step, r: p.restart, n: p.next, h: p.hard, c: p.clean }[event.key.toLowerCase()];
    const space = event.key === " " && event.target === p.stage ? p.run : null;
    if (!(button ?? space)) return;
    event.preventDefault();
    (button ?? space).click();
  }

  // Choices.

  // fillChoices lists the versions that can be chosen; what is chosen stays.
  fillChoices() {
    const { p, app } = this;
    const list = (app.versions?.available_versions ?? []).map((v) => ({ ...v, value: JSON.stringify([v.model, v.version]) }));
    const force = app.inForce?.version;
    const name = (v) => `${v.model === app.model ? "" : v.model + " "}${v.version}`;
    const options = list.map((v) => ({ value: v.value, text: name(v) + (v.state === "ready" ? "" : ` (${v.state})`), off: v.state !== "ready" }));
    offer(p.version, [{ value: "", text: force ? `In force (${force})` : "In force" }, ...options]);
    offer(p.ghost, [{ value: "none", text: "None" }, { value: "clean", text: "The same, clean sensors" }, ...options]);
  }

  get choice() {
    const [model, version] = this.p.version.value ? JSON.parse(this.p.version.value) : [this.app.model, ""];
    return { model, version };
  }

  get other() {
    const value = this.p.ghost.value;
    if (value === "none" || value === "") return null;
    if (value === "clean") return { ...this.choice, clean: true };
    const [model, version] = JSON.parse(value);
    return { model, version };
  }

  // choose tells whether the version that is chosen can drive, before anybody
  // starts it.
  async choose() {
    if (!this.shown || !this.app.model) return;
    const asked = this.asked = {};
    const { model, version } = this.choice;
    let why = "";
    try {
      const contract = await contractOf(model, version);
      const misfit = fit(contract).why;
      if (misfit) why = `${contract.modelName} ${contract.version} cannot drive this car: ${misfit}.`;
    } catch (error) {
      why = `It cannot be driven now: ${error.message}`;
    }
    if (asked !== this.asked) return;
    const before = this.chosen, changed = before !== undefined && before !== JSON.stringify(this.choice);
    this.chosen = JSON.stringify(this.choice);
    this.why = why;
    this.enable();
    if (why) {
      this.stop();
      this.place();
      this.say(why, true);
      this.state("refused");
    } else if (changed) {
      this.restart();
    } else if (this.root.dataset.state === "refused" || (before === undefined && !this.running && !this.busy && !this.run.opened)) {
      this.place(); // with the choice that is known now
    }
  }

  enable() {
    for (const button of [this.p.run, this.p.step, this.p.restart, this.p.next]) button.disabled = this.why !== "";
  }

  readSettings() {
    const { p } = this;
    const was = isClean(this.settings);
    this.settings = { noise: Number(p.noise.input.value), bias: Number(p.bias.input.value), delay: Number(p.delay.input.value), dead: Number(p.dead.value) };
    if (was !== isClean(this.settings)) this.announce(was ? "The sensors are disturbed." : "The sensors are clean.");
  }

  disturb({ noise, bias, delay, dead }) {
    const { p } = this;
    [[p.noise, noise], [p.bias, bias], [p.delay, delay]].forEach(([s, v]) => {
      s.input.value = v;
      s.show();
    });
    p.dead.value = dead;
    this.readSettings();
  }

  // The course of a drive.

  get seed() {
    const n = Math.trunc(Number(this.p.seed.value));
    return Number.isSafeInteger(n) && n >= 0 ? n : 1;
  }

  // place puts a car at the start of the road, which asks nothing of the server.
  place() {
    this.run?.close();
    this.busy = false; // what is under way is of the run before
    this.run = new Run(this.seed, this.choice, this.other);
    this.view.setRoad(this.run.lead.car.road);
    this.tally = { speed: 0, disturbed: false };
    this.say("");
    this.state("idle");
    this.showStep();
    this.wake();
  }

  stop() {
    this.running = this.resting = false;
    this.loop = null;
    clearTimeout(this.timer);
    this.showRunning();
  }

  pause(why) {
    if (!this.running) return;
    this.stop();
    this.state("paused");
    this.announce(why ? `The drive is ${why}.` : "Paused.");
  }

  toggle() {
    if (this.running) return this.pause();
    if (this.why) return;
    if (this.run.over) this.place();
    this.stop();
    this.running = true;
    this.showRunning();
    this.announce(`Driving road ${this.seed}.`);
    this.tick(this.loop = {});
  }

  restart() {
    const running = this.running || this.resting;
    this.stop();
    if (this.why) return;
    this.place();
    if (running) this.toggle();
  }

  nextRoad() {
    this.p.seed.value = this.seed + 1;
    this.restart();
  }

  async stepOnce() {
    if (this.running) this.pause();
    if (this.why || this.busy) return;
    if (this.run.over) this.place();
    if (await this.step()) this.state(this.run.over ? "ended" : "paused");
  }

  // tick makes a step and waits for the time of the next, which is counted from
  // the beginning of this one: a slow answer costs its own time and no more.
  async tick(loop) {
    if (loop !== this.loop) return;
    const again = (wait) => { this.timer = setTimeout(() => this.tick(loop), wait); };
    if (this.busy) return again(4); // with a step that was under way before
    const run = this.run, begun = performance.now();
    if (!(await this.step()) || (loop !== this.loop && !run.over)) return;
    if (run.over) {
      this.stop();
      this.resting = this.p.goOn.checked;
      if (this.resting) this.timer = setTimeout(() => this.nextRoad(), REST);
      return;
    }
    const pace = Number(this.p.pace.value);
    const wait = pace > 0 ? run.stepSeconds * 1000 / pace - (performance.now() - begun) : 0;
    again(Math.max(wait, 0));
  }

  // step makes one step and tells whether the drive goes on from it.
  async step() {
    const run = this.run;
    this.busy = true;
    try {
      if (!run.opened) {
        this.state("connecting");
        await run.open();
      }
      if (run === this.run) this.state("driving");
      await run.step(this.settings);
    } catch (error) {
      run.close();
      if (run !== this.run) return false;
      this.stop();
      this.say(error.message, true);
      this.state("failed");
      return false;
    } finally {
      if (run === this.run) this.busy = false;
    }
    if (run !== this.run) {
      run.close();
      return false;
    }
    this.tally.speed += run.lead.car.speed;
    this.tally.disturbed ||= !isClean(this.settings);
    this.latency.add(run.lead);
    setText(this.p.times, this.latency.text);
    this.showStep();
    if (run.over) this.end();
    this.wake();
    return true;
  }

  end() {
    const { car, version } = this.run.lead;
    const end = endOf(car);
    this.laps += end === "success";
    this.crashes += end === "crashed";
    this.run.close();
    const metres = car.travelled.toFixed(0), seconds = car.seconds.toFixed(1);
    const words = end === "success" ? `A lap: the road's end after ${seconds} s.`
      : end === "crashed" ? `Left the road at ${metres} m, after ${seconds} s.`
      : `Out of time at ${metres} m.`;
    this.say(words, end !== "success");
    this.p.drives.prepend(el("tr", {},
      el("td", {}, String(this.run.seed)), el("td", {}, version), el("td", {}, this.tally.disturbed ? "disturbed" : "clean"),
      el("td", {}, el("span", { class: "badge " + (end === "success" ? "good" : "bad") }, ENDS[end])),
      el("td", { class: "num" }, `${metres} m`), el("td", { class: "num" }, `${seconds} s`),
      el("td", { class: "num" }, `${(this.tally.speed / car.steps * 3.6).toFixed(1)} km/h`)));
    while (this.p.drives.children.length > KEPT) this.p.drives.lastElementChild.remove();
    this.state("ended");
  }

  // What is shown.

  // state leaves what happens where a style, and a test, can see it.
  state(name) {
    Object.assign(this.root.dataset, {
      state: name, laps: this.laps, crashes: this.crashes, steps: this.run?.lead.car.steps ?? 0, version: this.run?.lead.version ?? "",
    });
  }

  showRunning() {
    setText(this.p.run, this.running ? "Pause" : "Drive");
  }

  // say puts words over the picture and tells them to screen readers.
  say(text, bad = false) {
    hide(this.p.banner, !text);
    setText(this.p.banner, text);
    this.p.banner.classList.toggle("bad", bad);
    if (text) this.announce(text);
  }

  announce(text) {
    setText(this.p.status, text);
  }

  showStep() {
    const { p, run } = this;
    const { car, action, felt, told, answer, version } = run.lead;
    p.actions.forEach((b, i) => b.set([action.throttle, action.brake, action.steer][i]));
    felt.forEach((v, i) => p.sensors[i].set(v, told?.[i]));
    const changed = (answer?.interventions ?? []).map((c) => `${c.action} from ${Number(c.from).toFixed(2)} to ${Number(c.to).toFixed(2)} (${c.kind})`);
    setText(p.envelope, changed.length > 0 ? `The envelope changed ${changed.join(", ")}.` : "");
    setText(p.fields.Speed, `${(car.speed * 3.6).toFixed(1)} km/h`);
    setText(p.fields.Distance, `${car.travelled.toFixed(0)} m of ${ROAD_LENGTH} m`);
    setText(p.fields.Time, `${car.seconds.toFixed(1)} s, ${car.steps} ${car.steps === 1 ? "step" : "steps"}`);
    setText(p.fields.Version, version ? `${answer?.model ?? ""} ${version}, over ${run.lead.transport}` : "–");
    setText(p.fields.Ghost, this.ghostText());
    const far = car.sensors.map((v, i) => `${SENSORS[i]} ${v < 1 ? (v * 30).toFixed(0) + " m" : "free"}`);
    setText(p.words, `The car is at ${car.travelled.toFixed(0)} of ${ROAD_LENGTH} metres of road ${run.seed}, at ${(car.speed * 3.6).toFixed(0)} km/h, ` +
      `${car.clearance.toFixed(1)} m from the nearest edge. Its wheels are ${turned(car.steering)}. The edge of the road is: ${far.join(", ")}.`);
    this.root.dataset.steps = car.steps;
  }

  ghostText() {
    const { ghost, lead } = this.run;
    if (!ghost) return "none";
    if (ghost.failed) return `gone: ${ghost.failed}`;
    const who = ghost.clean ? "with clean sensors" : ghost.version;
    if (ghost.car.over) return `${who}: ${ENDS[endOf(ghost.car)]} at ${ghost.car.travelled.toFixed(0)} m`;
    const ahead = ghost.car.travelled - lead.car.travelled;
    return `${who}, ${Math.abs(ahead).toFixed(1)} m ${ahead >= 0 ? "ahead" : "behind"}`;
  }

  // The picture.

  wake() {
    this.awake = performance.now() + SOON;
    if (!this.frame && this.shown) this.frame = requestAnimationFrame((now) => this.draw(now));
  }

  draw() {
    this.frame = 0;
    if (!this.shown) return;
    const now = performance.now(), run = this.run;
    const pace = Number(this.p.pace.value) || 8;
    const fraction = run.steppedAt ? (now - run.steppedAt) / (run.stepSeconds * 1000 / pace) : 1;
    this.view.draw(run.drivers.map((d) => ({
      pose: along(d, fraction), trail: d.trail, ghost: d.ghost, crashed: d.car.crashed, crashedAt: d.endedAt,
    })), now);
    if (this.running || now < this.awake) this.frame = requestAnimationFrame((at) => this.draw(at));
  }
}

// along is where a car is a fraction of its step after it began.
const along = ({ legs }, fraction) => {
  const steps = legs.length - 1;
  const at = Math.min(Math.max(fraction, 0), 1) * steps;
  const i = Math.min(Math.floor(at), Math.max(steps - 1, 0));
  return poseAt(legs[i], legs[i + 1], at - i);
};

const turned = (v) => (Math.abs(v) < 0.02 ? "straight" : `turned ${Math.abs(v * 100).toFixed(0)} % to the ${v > 0 ? "left" : "right"}`);

// offer fills a list of choices only where it differs, and keeps what is chosen
// for as long as it is there.
const offer = (select, options) => {
  const now = JSON.stringify(options);
  if (select.dataset.offered === now) return;
  select.dataset.offered = now;
  const value = select.value;
  select.replaceChildren(...options.map((o) => el("option", { value: o.value, disabled: o.off }, o.text)));
  select.value = options.some((o) => o.value === value) ? value : options[0].value;
};

export const drive = (root, app) => new Drive(root, app);
