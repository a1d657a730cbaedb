// The time of a step, from the observation that is sent to the action that is
// there, over the last steps: its course as a line, and its quantiles.
const KEPT = 200;

const quantile = (sorted, q) => sorted[Math.min(Math.floor(q * sorted.length), sorted.length - 1)];
const ms = (v) => `${v < 10 ? v.toFixed(2) : v.toFixed(1)} ms`;

export class Latency {
  constructor(canvas) {
    this.canvas = canvas;
    this.values = [];
  }

  // add takes a step of a driver (drive_run.js).
  add({ roundTrip, answer }) {
    this.values.push(roundTrip);
    if (this.values.length > KEPT) this.values.shift();
    const sorted = this.values.toSorted((a, b) => a - b);
    this.text = `Round trip ${ms(roundTrip)}, median ${ms(quantile(sorted, 0.5))}, P99 ${ms(quantile(sorted, 0.99))} of ${sorted.length} steps` +
      (answer.timing ? `; of it inference ${(answer.timing.infer_ms * 1000).toFixed(0)} µs` : "");
    this.draw();
  }

  draw() {
    const { canvas, values } = this;
    const ratio = Math.min(devicePixelRatio || 1, 2), box = canvas.getBoundingClientRect();
    if (box.width === 0 || values.length === 0) return;
    canvas.width = Math.round(box.width * ratio);
    canvas.height = Math.round(box.height * ratio);
    const c = canvas.getContext("2d");
    c.scale(ratio, ratio);
    const top = Math.max(Math.max(...values) * 1.15, 1);
    const x = (i) => box.width * (1 - (values.length - 1 - i) / (KEPT - 1)), y = (v) => box.height - 1 - (box.height - 3) * v / top;
    c.strokeStyle = c.fillStyle = getComputedStyle(canvas).color;
    c.lineWidth = 1.5;
    c.lineJoin = "round";
    c.beginPath();
    values.forEach((v, i) => c.lineTo(x(i), y(v)));
    c.stroke();
    c.lineTo(x(values.length - 1), box.height);
    c.lineTo(x(0), box.height);
    c.globalAlpha = 0.12;
    c.fill();
  }
}
