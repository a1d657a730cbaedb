// One run of the drive: a road, the car on it and, where one is wanted, a ghost
// beside it. The cars act in the same steps and their sensors see the same
// noise, so that what differs is the policy. Nothing here draws.
import { Disturbance, CLEAN } from "./disturb.js";
import { Car, TIME_STEP } from "./physics.js";
import { contractOf, fit, openPilot } from "./pilot.js";

// Driver is a car with the policy that drives it. choice names model and
// version, either "" for the one in force; clean keeps the disturbance away.
class Driver {
  constructor(seed, choice, { ghost = false, clean = false } = {}) {
    Object.assign(this, { choice, ghost, clean, pilot: null, version: "", answer: null, failed: "" });
    this.car = new Car(seed);
    this.disturbance = new Disturbance(seed);
    this.action = { throttle: 0, brake: 0, steer: 0 };
    this.felt = this.car.sensors; // readings of the last observation
    this.told = null; // what the policy was told instead; null where it was told the same
    this.trail = [];
    this.legs = [this.pose()]; // poses of the last step of control
    this.endedAt = 0;
  }

  async open() {
    const { model, version } = this.choice;
    this.contract = await contractOf(model, version);
    this.fit = fit(this.contract);
    if (this.fit.why) throw new Error(`${this.contract.modelName} ${this.contract.version} cannot drive this car: ${this.fit.why}.`);
    this.version = this.contract.version;
    this.pilot = await openPilot(model, version);
    this.transport = this.pilot.transport;
  }

  pose() {
    const { x, y, heading, speed, steering, turn, sensors } = this.car;
    return { x, y, heading, speed, steering, turn, sensors, told: this.told, brake: this.action.brake };
  }

  // step asks the policy and moves the car by seconds, in steps of physics that
  // are no longer than those of the training.
  async step(seconds, settings) {
    const observation = this.car.observation();
    this.felt = observation.sensors;
    observation.sensors = this.disturbance.apply(this.felt, this.clean ? CLEAN : settings);
    this.told = observation.sensors.some((v, i) => v !== this.felt[i]) ? observation.sensors : null;
    const asked = performance.now();
    const answer = await this.pilot.act(this.fit.encode(observation), this.car.steps === 0);
    this.roundTrip = performance.now() - asked;
    this.answer = answer;
    this.version = answer.version;
    this.action = this.fit.decode(answer);
    this.trail.push(this.legs.at(-1));
    this.legs = [this.legs.at(-1)];
    const count = Math.ceil(seconds / TIME_STEP - 1e-9);
    for (let i = 0; i < count && !this.car.over; i++) {
      this.car.step(this.action, seconds / count);
      this.legs.push({ ...this.pose(), seconds: seconds / count });
    }
    if (this.car.over) this.endedAt = performance.now();
  }

  close() {
    this.pilot?.close();
    this.pilot = null;
  }
}

export class Run {
  // lead and other are choices; other is null for no ghost, and has clean where
  // its sensors are left alone.
  constructor(seed, lead, other) {
    this.seed = seed;
    this.lead = new Driver(seed, lead);
    this.ghost = other && new Driver(seed, other, { ghost: true, clean: other.clean });
    this.stepSeconds = TIME_STEP;
    this.steppedAt = 0;
  }

  get drivers() {
    return this.ghost ? [this.lead, this.ghost] : [this.lead];
  }

  get over() {
    return this.lead.car.over;
  }

  // open opens the pilots. The steps of control are those of the contract of
  // the car, of the training where it says nothing.
  async open() {
    await this.lead.open();
    if (this.lead.contract.controlHz > 0) this.stepSeconds = 1 / this.lead.contract.controlHz;
    await this.alone(this.ghost, (ghost) => ghost.open());
    this.opened = true;
  }

  // step moves all cars by one step of control.
  async step(settings) {
    await Promise.all([
      this.lead.step(this.stepSeconds, settings),
      this.ghost && !this.ghost.car.over && this.alone(this.ghost, (ghost) => ghost.step(this.stepSeconds, settings)),
    ]);
    this.steppedAt = performance.now();
  }

  // alone keeps what a ghost fails at from the car.
  async alone(ghost, act) {
    if (!ghost || ghost.failed) return;
    try {
      await act(ghost);
    } catch (error) {
      ghost.failed = error.message;
      ghost.close();
    }
  }

  close() {
    for (const driver of this.drivers) driver.close();
  }
}
