// A pilot is a policy of the server that is asked step by step: over the
// WebSocket /v1/stream, or, where the page has an API key, which a browser
// cannot send with a WebSocket, over a session of HTTP. Either keeps the state
// of a policy that has one. Nothing here knows of roads.
import { Refused, call, hasKey, modelPath } from "./api.js";

const OPEN_TIMEOUT = 10_000, ACT_TIMEOUT = 10_000; // ms

// openPilot connects to a version of a model; without a version it is the one
// in force, which stays for as long as the pilot does. It fails with Refused.
export const openPilot = async (model, version) => {
  const pilot = hasKey() ? new SessionPilot(model, version) : new StreamPilot(model, version);
  try {
    await pilot.open();
  } catch (error) {
    pilot.close();
    throw error;
  }
  return pilot;
};

const withTimeout = (promise, ms, what) => {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Refused(0, "TIMEOUT", `${what} took longer than ${ms / 1000} s`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};

class StreamPilot {
  constructor(model, version) {
    this.query = new URLSearchParams();
    if (model) this.query.set("model", model);
    if (version) this.query.set("version", version);
    this.path = contractPath(model, version);
    this.query.set("deterministic", "true");
    this.seq = 0;
    this.waiting = null;
    this.transport = "WebSocket";
  }

  open() {
    const address = document.createElement("a"); // makes a relative address whole
    address.href = "v1/stream?" + this.query;
    address.protocol = address.protocol.replace("http", "ws");
    const opened = new Promise((resolve, reject) => {
      const socket = this.socket = new WebSocket(address.href);
      socket.addEventListener("open", () => {
        this.opened = true;
        resolve();
      });
      socket.addEventListener("message", (event) => this.receive(event.data));
      socket.addEventListener("close", (event) => {
        this.closed = new Refused(0, "CLOSED", closeReason(event));
        this.settle("reject", this.closed);
        // A browser does not tell why an upgrade was refused; the server says
        // it of the same version over HTTP, where that has the same cause.
        if (!this.opened) call(this.path).then(() => reject(this.closed), reject);
      });
    });
    return withTimeout(opened, OPEN_TIMEOUT, "opening the stream");
  }

  // act answers an observation with the answer of the server. One is asked at a
  // time.
  act(observation, start) {
    if (this.closed) return Promise.reject(this.closed);
    const seq = ++this.seq;
    const answer = new Promise((resolve, reject) => { this.waiting = { seq, resolve, reject }; });
    this.socket.send(JSON.stringify({ seq, observation, episode_start: start }));
    return withTimeout(answer, ACT_TIMEOUT, "an answer");
  }

  receive(text) {
    let answer;
    try {
      answer = JSON.parse(text);
    } catch {
      return this.settle("reject", new Refused(0, "BAD_ANSWER", "the server's answer is no JSON"));
    }
    if (this.waiting && answer.seq !== undefined && answer.seq !== this.waiting.seq) return; // one that came too late
    if (answer.error) this.settle("reject", new Refused(0, answer.error, answer.message));
    else this.settle("resolve", answer);
  }

  settle(how, value) {
    const waiting = this.waiting;
    this.waiting = null;
    if (waiting) waiting[how](value);
  }

  close() {
    this.socket?.close();
  }
}

class SessionPilot {
  constructor(model, version) {
    this.begin = { deterministic: true, ttl_s: 60 };
    if (model) this.begin.model = model;
    if (version) this.begin.version = version;
    this.transport = "HTTP";
  }

  async open() {
    const session = await call("v1/sessions", { method: "POST", body: this.begin });
    this.path = "v1/sessions/" + encodeURIComponent(session.session_id);
  }

  act(observation, start) {
    return call(this.path + "/act", { method: "POST", body: { observation, episode_start: start }, wait: ACT_TIMEOUT });
  }

  close() {
    if (this.path) call(this.path, { method: "DELETE", text: true }).catch(() => {}); // or it ends by itself
  }
}

const contractPath = (model, version) => (model ? modelPath(model, version) : "metadata");

// contractOf returns the metadata of a version, of the one in force without.
export const contractOf = (model, version) => call(contractPath(model, version));

const closeReason = ({ code, reason }) => {
  if (reason) return `${reason} (${code})`;
  if (code === 1006) return "the connection broke, or the server takes no more streams";
  return `the stream ended with code ${code}`;
};

// The observation and the action of training/driving_env.py, as a policy has
// them that was saved with its spaces and without names.
const FLAT_LOW = [0, -1, 0, 0, 0, 0, 0], FLAT_HIGH = [200, 1, 1, 1, 1, 1, 1];
const WANTED = { speed: 1, steering: 1, sensors: 5 };
const ACTIONS = ["throttle", "brake", "steer"];

const size = (shape) => shape.reduce((n, d) => n * d, 1);
const scalar = (v) => (Array.isArray(v) ? scalar(v[0]) : Number(v));
const same = (a, b) => Array.isArray(a) && a.length === b.length && a.every((v, i) => v === b[i]);

// fit tells how a policy is to be asked for the car: encode makes an observation
// of what the car has, decode the car's action of an answer. why says in words
// why a policy cannot drive the car, "" where it can.
export const fit = (contract) => {
  if (contract.masks) return { why: "it wants action masks, which the car does not have" };
  if (isFlat(contract)) {
    return {
      why: "",
      encode: ({ speed, steering, sensors }) => [speed, steering, ...sensors],
      decode: (answer) => Object.fromEntries(ACTIONS.map((name, i) => [name, answer.actions[0][i]])),
    };
  }
  return {
    why: misfit(contract),
    encode: (observation) => observation,
    decode: (answer) => Object.fromEntries(ACTIONS.map((name) => [name, scalar(answer.actions[0][name])])),
  };
};

const isFlat = ({ named, observation, action }) =>
  !named && observation.length === 1 && action.length === 1 &&
  same(observation[0].space?.low, FLAT_LOW) && same(observation[0].space?.high, FLAT_HIGH) &&
  same(action[0].space?.low, [0, 0, -1]) && action[0].space?.high === 1;

const misfit = (contract) => {
  if (!contract.named) return "its observation has no names, and is not that of the car: speed, steering and sensors";
  const missing = new Map(Object.entries(WANTED));
  for (const { name, shape } of contract.observation) {
    if (!missing.has(name)) return `it observes ${name}, which the car does not have`;
    if (size(shape) !== missing.get(name)) return `its ${name} has ${size(shape)} values, that of the car ${missing.get(name)}`;
    missing.delete(name);
  }
  if (missing.size > 0) return `it does not observe ${[...missing.keys()].join(", ")}`;
  const names = contract.action.map((a) => a.name);
  const lacking = ACTIONS.filter((name) => !names.includes(name));
  return lacking.length > 0 ? `its action has no ${lacking.join(", no ")}` : "";
};
