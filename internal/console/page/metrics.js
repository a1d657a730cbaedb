// The metrics of the server, read from its text, and what follows from two
// readings of them: rates, and percentiles of what came between.

const line = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const label = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)",?/g;

const unescape = (text) => (text.includes("\\") ? text.replace(/\\(.)/g, (_, c) => (c === "n" ? "\n" : c)) : text);

const number = (text) => (text === "+Inf" ? Infinity : text === "-Inf" ? -Infinity : Number(text));

// parse reads the text format of Prometheus into a map from names to their
// samples, { labels, value }. What is no sample is passed over.
export const parse = (text) => {
  const all = new Map();
  for (const row of text.split("\n")) {
    if (row === "" || row[0] === "#") continue;
    const m = line.exec(row);
    if (!m) continue;
    const labels = {};
    if (m[2]) for (const l of m[2].matchAll(label)) labels[l[1]] = unescape(l[2]);
    const sample = { labels, value: number(m[3]) };
    const list = all.get(m[1]);
    if (list) list.push(sample);
    else all.set(m[1], [sample]);
  }
  return all;
};

const chosen = (labels, want) => {
  for (const [name, w] of Object.entries(want)) {
    const has = labels[name];
    if (typeof w === "function" ? !w(has) : has !== w) return false;
  }
  return true;
};

// samples returns those of a metric whose labels are as wanted: a text, or a
// function of the label's value.
export const samples = (all, name, want = {}) => (all.get(name) ?? []).filter((s) => chosen(s.labels, want));

// sum adds them up. It is NaN for a metric that is not there.
export const sum = (all, name, want = {}) => {
  if (!all?.has(name)) return NaN;
  let total = 0;
  for (const s of all.get(name)) if (chosen(s.labels, want)) total += s.value;
  return total;
};

// histogram adds up the buckets of a histogram into { bounds, counts, sum, count },
// where counts are of each bucket alone.
export const histogram = (all, name, want = {}) => {
  const below = new Map();
  for (const s of all?.get(name + "_bucket") ?? []) {
    if (!chosen(s.labels, want)) continue;
    const le = number(s.labels.le);
    below.set(le, (below.get(le) ?? 0) + s.value);
  }
  const bounds = [...below.keys()].sort((a, b) => a - b);
  let before = 0;
  const counts = bounds.map((b) => {
    const n = below.get(b) - before;
    before = below.get(b);
    return n;
  });
  return { bounds, counts, sum: sum(all, name + "_sum", want), count: before };
};

// since returns a histogram less an earlier one of the same buckets.
export const since = (now, then) => {
  if (then.count > now.count || then.bounds.length !== now.bounds.length) return now;
  return { bounds: now.bounds, counts: now.counts.map((n, i) => n - then.counts[i]), sum: now.sum - then.sum, count: now.count - then.count };
};

// quantile is that of Prometheus: values lie evenly within their bucket, and
// those above the last bound are at it.
export const quantile = (h, q) => {
  if (!h || h.count <= 0) return NaN;
  let rest = q * h.count;
  for (let i = 0; i < h.bounds.length; i++) {
    if (rest > h.counts[i] || h.counts[i] === 0) {
      rest -= h.counts[i];
      continue;
    }
    const low = i === 0 ? 0 : h.bounds[i - 1];
    if (h.bounds[i] === Infinity) return low;
    return low + (h.bounds[i] - low) * (rest / h.counts[i]);
  }
  return h.bounds.findLast((b) => b !== Infinity) ?? NaN;
};

// History keeps the readings of the last half minute, and what was made of all
// since the page was opened, up to some minutes.
export class History {
  #readings = [];
  #started = NaN;
  series = new Map(); // name -> { at: [], values: [] }

  constructor({ window = 30, points = 300 } = {}) {
    this.window = window; // seconds that percentiles are of
    this.points = points; // of a series
  }

  get now() {
    return this.#readings.at(-1)?.all;
  }

  // span is how many seconds lie between the newest reading and the oldest that
  // is looked back at.
  span(longest = this.window) {
    const then = this.#then(longest);
    return then ? (this.#readings.at(-1).at - then.at) / 1000 : 0;
  }

  // add takes a reading. A process that was started anew begins anew here too.
  add(all, at = performance.now()) {
    const started = sum(all, "carla_rl_service_startup_timestamp_seconds");
    if (!Object.is(started, this.#started)) this.#readings = [];
    this.#started = started;
    this.#readings.push({ all, at });
    while (this.#readings.length > 2 && at - this.#readings[1].at > this.window * 1000) this.#readings.shift();
  }

  // record puts a value behind a series.
  record(name, value, at = Date.now()) {
    let s = this.series.get(name);
    if (!s) this.series.set(name, (s = { at: [], values: [] }));
    s.at.push(at);
    s.values.push(value);
    if (s.at.length > this.points) {
      s.at.shift();
      s.values.shift();
    }
  }

  // then is the reading that is looked back at.
  #then(longest) {
    const last = this.#readings.at(-1);
    // Where readings are farther apart, as on a busy machine, it is the last but one.
    return this.#readings.find((r) => r !== last && last.at - r.at <= longest * 1000 + 500) ?? this.#readings.at(-2);
  }

  // rate is how much a counter grew in a second, NaN while there is one reading.
  // A counter that is not there yet is one of 0.
  rate(name, want = {}, longest = this.window) {
    const then = this.#then(longest);
    if (!then) return NaN;
    const grown = (sum(this.now, name, want) || 0) - (sum(then.all, name, want) || 0);
    return Math.max(0, grown) / ((this.#readings.at(-1).at - then.at) / 1000);
  }

  // recent is a histogram of what came in the window.
  recent(name, want = {}, longest = this.window) {
    const then = this.#then(longest);
    const now = histogram(this.now, name, want);
    return then ? since(now, histogram(then.all, name, want)) : { ...now, counts: now.counts.map(() => 0), sum: 0, count: 0 };
  }
}
