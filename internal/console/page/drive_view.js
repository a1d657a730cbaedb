// The picture of the drive: the road from above, the camera that follows, the
// cars with what they sense and where they have been. It draws between two
// steps of control where the car is by then, along the arc that the physics
// drives. Colours are those of the page's theme.
import {
  BODY_RADIUS, HALF_WIDTH, ROAD_POINTS, SENSOR_ANGLES, SENSOR_RANGE, START_POINT, WHEEL_ANGLE_MAX,
} from "./physics.js";

const CAR_LENGTH = 2.7, CAR_WIDTH = 1.6; // the body that collides is a circle; the ring around the car is that
const AHEAD = 7; // metres that the camera looks ahead of the car
const VIEW = 41; // metres of the shorter side of the canvas

// The colours of the picture by theme, all #rrggbb but those that are see-through.
const LIGHT = {
  ground: "#dfe8dc", grid: "#c3d1bf", asphalt: "#c9ced6", edge: "#ffffff", centre: "#f4f6f8", finish: "#3a414b",
  block: "#d9641e", stripe: "#fff3e6", car: "#1f5fd0", glass: "#cfe2ff", wheel: "#20262e", ghost: "#8a3ab9",
  slow: "#2f86e0", fast: "#0aa37a", near: "#d3263b", mid: "#c47a00", far: "#178a52", told: "#b3009e",
  brake: "#e02020", lamp: "#fff2b0", crash: "#d3263b", panel: "rgba(255,255,255,0.82)", ink: "#1b2430", faint: "#aeb7c2",
};
const DARK = {
  ground: "#0f1511", grid: "#1f2a23", asphalt: "#272e37", edge: "#93a1b1", centre: "#4d5866", finish: "#d7dee6",
  block: "#c8641f", stripe: "#3a2412", car: "#6aa5ff", glass: "#132a4d", wheel: "#05070a", ghost: "#c58cf0",
  slow: "#5aa2ff", fast: "#3fe0ae", near: "#ff5c6c", mid: "#ffb84d", far: "#4fd08c", told: "#ff6be6",
  brake: "#ff4d4d", lamp: "#fff2b0", crash: "#ff5c6c", panel: "rgba(17,22,28,0.78)", ink: "#e8edf3", faint: "#4a5563",
};

// smooth traces a curve through points, straight where there are two.
function smooth(path, points, begin = true) {
  if (begin) path.moveTo(...points[0]);
  for (let i = 0; i < points.length - 1; i++) {
    const p = points[Math.max(i - 1, 0)], a = points[i], b = points[i + 1], q = points[Math.min(i + 2, points.length - 1)];
    path.bezierCurveTo(
      a[0] + (b[0] - p[0]) / 6, a[1] + (b[1] - p[1]) / 6, b[0] - (q[0] - a[0]) / 6, b[1] - (q[1] - a[1]) / 6, b[0], b[1],
    );
  }
}

// Scene is what of a road is drawn in every frame, made once.
class Scene {
  constructor(road) {
    const whole = new Array(ROAD_POINTS).fill(HALF_WIDTH);
    const left = road.offset(whole, 1), right = road.offset(whole, -1);
    this.centreLine = Array.from(road.x, (x, i) => [x, road.y[i]]);
    this.surface = new Path2D();
    smooth(this.surface, left);
    const back = right.toReversed();
    this.surface.lineTo(...back[0]);
    smooth(this.surface, back, false);
    this.surface.closePath();
    this.sides = new Path2D();
    smooth(this.sides, left);
    smooth(this.sides, right);
    this.centre = new Path2D();
    smooth(this.centre, this.centreLine);
    this.blocks = new Path2D();
    road.edges.forEach((edge, side) => this.addBlocks(edge, side === 0 ? left : right, road.halfWidths[side]));
    this.start = cross(road, START_POINT);
    this.finish = cross(road, ROAD_POINTS - 2);
    this.end = road.heading[ROAD_POINTS - 2];
    this.bounds = bounds([...left, ...right]);
  }

  // addBlocks adds what lies between the road's side and its edge.
  addBlocks(edge, side, widths) {
    for (let i = 1; i < ROAD_POINTS; i++) {
      if (widths[i] === HALF_WIDTH || widths[i - 1] !== HALF_WIDTH) continue;
      let end = i;
      while (widths[end] !== HALF_WIDTH) end++;
      this.blocks.moveTo(...side[i - 1]);
      for (let k = i; k <= end; k++) this.blocks.lineTo(...edge[k]);
      for (let k = end - 1; k >= i; k--) this.blocks.lineTo(...side[k]);
      this.blocks.closePath();
    }
  }
}

const cross = (road, i) => [road.offset(new Array(ROAD_POINTS).fill(HALF_WIDTH), 1)[i], road.offset(new Array(ROAD_POINTS).fill(HALF_WIDTH), -1)[i]];

function bounds(points) {
  const x = points.map((p) => p[0]), y = points.map((p) => p[1]);
  return { left: Math.min(...x), right: Math.max(...x), bottom: Math.min(...y), top: Math.max(...y) };
}

// poseAt is where a car is a fraction of a step after pose, on the arc that the
// step drives.
export function poseAt(from, to, fraction) {
  if (!to || fraction >= 1) return to ?? from;
  const seconds = (to.seconds) * fraction;
  const middle = from.heading + to.turn * seconds / 2;
  return {
    x: from.x + to.speed * seconds * Math.cos(middle),
    y: from.y + to.speed * seconds * Math.sin(middle),
    heading: from.heading + to.turn * seconds,
    speed: from.speed + (to.speed - from.speed) * fraction,
    steering: from.steering + (to.steering - from.steering) * fraction,
    sensors: from.sensors.map((v, i) => v + (to.sensors[i] - v) * fraction),
    told: to.told,
    brake: to.brake ?? 0,
  };
}

export class DriveView {
  constructor(canvas) {
    this.canvas = canvas;
    this.c = canvas.getContext("2d");
    this.camera = null;
    this.chase = true; // the camera turns with the car
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.resize();
  }

  resize() {
    const ratio = Math.min(devicePixelRatio || 1, 2);
    const box = this.canvas.getBoundingClientRect();
    this.width = Math.max(box.width, 1);
    this.height = Math.max(box.height, 1);
    this.canvas.width = Math.round(this.width * ratio);
    this.canvas.height = Math.round(this.height * ratio);
    this.ratio = ratio;
  }

  setRoad(road) {
    this.scene = new Scene(road);
    this.camera = null;
  }

  // draw draws one frame: cars, of which the first is followed, at a time in
  // milliseconds. A car has a pose, a trail, and ghost where it is that.
  draw(cars, now) {
    if (!this.scene) return;
    const car = cars[0];
    const theme = document.documentElement.dataset.theme;
    this.night = theme ? theme === "dark" : this.dark.matches;
    const colours = this.colours = this.night ? DARK : LIGHT;
    const { c } = this;
    this.follow(car.pose, now);
    c.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    c.fillStyle = colours.ground;
    c.fillRect(0, 0, this.width, this.height);
    c.save();
    this.look();
    this.drawGrid();
    this.drawRoad();
    for (const other of cars.toReversed()) this.drawTrail(other);
    if (this.night) this.drawBeams(car.pose);
    this.drawRays(car.pose);
    for (const other of cars.slice(1)) this.drawCar(other.pose, true, other.crashed);
    this.drawCar(car.pose, false, car.crashed);
    if (car.crashed) this.drawCrash(car.pose, now - car.crashedAt);
    c.restore();
    this.drawMap(cars);
    this.drawSpeed(car.pose);
  }

  // follow moves the camera towards the car, smoothly.
  follow(pose, now) {
    const angle = this.chase ? pose.heading : Math.PI / 2;
    const want = {
      x: pose.x + AHEAD * Math.cos(pose.heading), y: pose.y + AHEAD * Math.sin(pose.heading), angle,
      zoom: 1 - 0.012 * Math.min(pose.speed, 20),
    };
    if (!this.camera) this.camera = { ...want, at: now };
    const m = this.camera;
    const seconds = Math.min(Math.max((now - m.at) / 1000, 0), 0.25);
    const near = 1 - Math.exp(-6 * seconds), turn = 1 - Math.exp(-3.5 * seconds);
    m.x += (want.x - m.x) * near;
    m.y += (want.y - m.y) * near;
    m.angle += Math.atan2(Math.sin(want.angle - m.angle), Math.cos(want.angle - m.angle)) * turn;
    m.zoom += (want.zoom - m.zoom) * turn;
    m.at = now;
  }

  // look sets the transform from metres to the canvas, the camera's heading up.
  look() {
    const { c, camera: m } = this;
    this.scale = Math.min(this.width, this.height * 1.35) / VIEW * m.zoom;
    c.translate(this.width / 2, this.height * (this.chase ? 0.56 : 0.5));
    c.scale(this.scale, -this.scale);
    c.rotate(Math.PI / 2 - m.angle);
    c.translate(-m.x, -m.y);
  }

  drawGrid() {
    const { c, camera: m } = this;
    const reach = Math.hypot(this.width, this.height) / this.scale * 0.6, step = 8;
    c.fillStyle = this.colours.grid;
    c.beginPath();
    for (let x = Math.floor((m.x - reach) / step) * step; x < m.x + reach; x += step) {
      for (let y = Math.floor((m.y - reach) / step) * step; y < m.y + reach; y += step) {
        c.rect(x - 0.14, y - 0.14, 0.28, 0.28);
      }
    }
    c.fill();
  }

  drawRoad() {
    const { c, colours, scene } = this;
    c.lineJoin = c.lineCap = "round";
    c.strokeStyle = colours.edge;
    c.lineWidth = 0.9;
    c.globalAlpha = 0.25;
    c.stroke(scene.sides);
    c.globalAlpha = 1;
    c.fillStyle = colours.asphalt;
    c.fill(scene.surface);
    c.strokeStyle = colours.centre;
    c.lineWidth = 0.14;
    c.lineCap = "butt";
    c.setLineDash([1.6, 2.4]);
    c.stroke(scene.centre);
    c.setLineDash([]);
    this.drawFinish();
    c.fillStyle = colours.block;
    c.fill(scene.blocks);
    c.save();
    c.clip(scene.blocks);
    c.strokeStyle = colours.stripe;
    c.lineWidth = HALF_WIDTH * 2.2;
    c.setLineDash([0.55, 0.55]);
    c.stroke(scene.centre);
    c.restore();
    c.strokeStyle = colours.block;
    c.lineWidth = 0.16;
    c.stroke(scene.blocks);
    c.strokeStyle = colours.edge;
    c.lineWidth = 0.22;
    c.stroke(scene.sides);
  }

  drawFinish() {
    const { c, colours, scene } = this;
    const [[sx, sy], [tx, ty]] = scene.start;
    c.strokeStyle = colours.faint;
    c.lineWidth = 0.25;
    c.beginPath();
    c.moveTo(sx, sy);
    c.lineTo(tx, ty);
    c.stroke();
    const [a, b] = scene.finish, squares = 12, rows = 2, size = 2 * HALF_WIDTH / squares;
    c.save();
    c.translate(...a);
    c.rotate(Math.atan2(b[1] - a[1], b[0] - a[0]));
    for (let i = 0; i < squares; i++) {
      for (let k = 0; k < rows; k++) {
        c.fillStyle = (i + k) % 2 ? colours.finish : colours.asphalt;
        c.fillRect(i * size, k * size, size + 0.02, size + 0.02);
      }
    }
    c.restore();
  }

  drawTrail({ trail, pose, ghost }) {
    const { c, colours } = this;
    c.lineCap = c.lineJoin = "round";
    if (ghost) { // see-through, so it is one line
      c.beginPath();
      for (const { x, y } of [...trail, pose]) c.lineTo(x, y);
      c.globalAlpha = 0.6;
      c.strokeStyle = colours.ghost;
      c.lineWidth = 0.22;
      c.stroke();
      c.globalAlpha = 1;
      return;
    }
    for (let i = 1; i <= trail.length; i++) {
      const a = trail[i - 1], b = trail[i] ?? pose;
      c.lineWidth = Math.max(0.16, 0.44 - (trail.length - i) * 0.004);
      c.strokeStyle = mix(colours.slow, colours.fast, (b.speed - 4) / 9);
      line(c, a.x, a.y, b.x, b.y);
    }
  }

  drawBeams({ x, y, heading }) {
    const { c, colours } = this;
    c.save();
    c.translate(x, y);
    c.rotate(heading);
    for (const side of [-1, 1]) {
      const light = c.createRadialGradient(CAR_LENGTH / 2, 0.5 * side, 0.3, CAR_LENGTH / 2, 0.5 * side, 15);
      light.addColorStop(0, colours.lamp);
      light.addColorStop(1, "transparent");
      c.fillStyle = light;
      c.globalAlpha = 0.2;
      c.beginPath();
      c.moveTo(CAR_LENGTH / 2, 0.5 * side);
      c.arc(CAR_LENGTH / 2, 0.5 * side, 15, -0.3 + 0.05 * side, 0.3 + 0.05 * side);
      c.fill();
    }
    c.restore();
  }

  // drawRays draws what is there as lines, and what the policy is told of it as
  // marks, where that is something else.
  drawRays({ x, y, heading, sensors, told }) {
    const { c, colours } = this;
    c.lineCap = "round";
    sensors.forEach((v, i) => {
      const dx = Math.cos(heading + SENSOR_ANGLES[i]), dy = Math.sin(heading + SENSOR_ANGLES[i]);
      const reach = v * SENSOR_RANGE;
      const colour = v < 0.25 ? mix(colours.near, colours.mid, (v - 0.05) / 0.2) : mix(colours.mid, colours.far, (v - 0.25) / 0.5);
      const fade = c.createLinearGradient(x, y, x + dx * reach, y + dy * reach);
      fade.addColorStop(0, "transparent");
      fade.addColorStop(Math.min(0.9, BODY_RADIUS * 1.4 / Math.max(reach, 0.1)), colour);
      fade.addColorStop(1, colour);
      c.strokeStyle = fade;
      c.globalAlpha = 0.85;
      c.lineWidth = 0.13;
      line(c, x, y, x + dx * reach, y + dy * reach);
      c.globalAlpha = 1;
      if (v < 1) {
        c.fillStyle = colour;
        dot(c, x + dx * reach, y + dy * reach, 0.32);
      }
      if (told && Math.abs(told[i] - v) > 0.004) {
        const at = told[i] * SENSOR_RANGE;
        c.strokeStyle = colours.told;
        c.lineWidth = 0.12;
        c.setLineDash([0.4, 0.4]);
        line(c, x + dx * reach, y + dy * reach, x + dx * at, y + dy * at);
        c.setLineDash([]);
        c.lineWidth = 0.2;
        const px = x + dx * at, py = y + dy * at;
        line(c, px - 0.45, py - 0.45, px + 0.45, py + 0.45);
        line(c, px - 0.45, py + 0.45, px + 0.45, py - 0.45);
      }
    });
  }

  drawCar({ x, y, heading, steering, brake }, ghost, crashed) {
    const { c, colours } = this;
    const l = CAR_LENGTH / 2, w = CAR_WIDTH / 2;
    c.save();
    c.translate(x, y);
    c.globalAlpha = ghost ? 0.45 : 0.5;
    c.strokeStyle = crashed ? colours.crash : ghost ? colours.ghost : colours.car;
    c.lineWidth = 0.07;
    c.beginPath();
    c.arc(0, 0, BODY_RADIUS, 0, 2 * Math.PI);
    c.stroke();
    c.globalAlpha = ghost ? 0.5 : 1;
    c.rotate(heading);
    c.fillStyle = colours.wheel;
    for (const [wx, side, angle] of [[l * 0.62, 1, steering], [l * 0.62, -1, steering], [-l * 0.62, 1, 0], [-l * 0.62, -1, 0]]) {
      c.save();
      c.translate(wx, side * w * 0.92);
      c.rotate(angle * WHEEL_ANGLE_MAX);
      box(c, -0.33, -0.13, 0.66, 0.26, 0.08);
      c.restore();
    }
    if (!ghost) {
      c.shadowColor = "rgba(0,0,0,0.35)";
      c.shadowBlur = 0.5 * this.scale * this.ratio;
    }
    c.fillStyle = ghost ? colours.ghost : colours.car;
    box(c, -l, -w, 2 * l, 2 * w, 0.5);
    c.shadowColor = "transparent";
    c.fillStyle = colours.glass;
    box(c, 0.18, -w * 0.74, 0.52, w * 1.48, 0.2);
    box(c, -l * 0.78, -w * 0.68, 0.32, w * 1.36, 0.14);
    c.fillStyle = colours.lamp;
    for (const side of [-1, 1]) box(c, l - 0.2, side * w * 0.62 - 0.16, 0.16, 0.32, 0.07);
    c.fillStyle = colours.brake;
    c.globalAlpha *= brake > 0.05 ? 1 : 0.4;
    for (const side of [-1, 1]) box(c, -l + 0.04, side * w * 0.62 - 0.18, 0.14, 0.36, 0.06);
    c.restore();
  }

  drawCrash({ x, y }, since) {
    const { c } = this;
    const grow = this.still ? 1 : Math.min(since / 500, 1);
    c.strokeStyle = this.colours.crash;
    c.lineWidth = 0.3;
    c.globalAlpha = 1 - 0.6 * grow;
    c.beginPath();
    c.arc(x, y, 1 + 2.4 * grow, 0, 2 * Math.PI);
    c.stroke();
    c.globalAlpha = 1;
  }

  // drawMap draws the whole road into a corner.
  drawMap(cars) {
    const { c, colours, scene } = this;
    const size = Math.min(150, this.width * 0.26), pad = 12;
    const b = scene.bounds;
    const scale = (size - 22) / Math.max(b.right - b.left, b.top - b.bottom);
    const width = (b.right - b.left) * scale + 22, height = (b.top - b.bottom) * scale + 22;
    c.save();
    c.translate(this.width - width - pad, pad);
    c.fillStyle = colours.panel;
    box(c, 0, 0, width, height, 10);
    c.translate(11 - b.left * scale, height - 11 + b.bottom * scale);
    c.scale(scale, -scale);
    c.strokeStyle = colours.faint;
    c.lineCap = c.lineJoin = "round";
    c.lineWidth = 7;
    c.stroke(scene.centre);
    for (const { pose, ghost } of cars.toReversed()) {
      c.fillStyle = ghost ? colours.ghost : colours.car;
      dot(c, pose.x, pose.y, (ghost ? 3.2 : 4.2) / scale);
    }
    c.restore();
  }

  drawSpeed({ speed }) {
    const { c, colours } = this;
    const r = 34, x = r + 16, y = this.height - 30, from = 0.8 * Math.PI, span = 1.4 * Math.PI;
    const kmh = speed * 3.6;
    c.save();
    c.fillStyle = colours.panel;
    dot(c, x, y - 10, r + 9);
    c.lineCap = "round";
    c.lineWidth = 6;
    c.strokeStyle = colours.faint;
    c.beginPath();
    c.arc(x, y - 10, r, from, from + span);
    c.stroke();
    c.strokeStyle = mix(colours.slow, colours.fast, (speed - 4) / 9);
    c.beginPath();
    c.arc(x, y - 10, r, from, from + span * Math.min(kmh / 60, 1));
    c.stroke();
    c.fillStyle = colours.ink;
    c.textAlign = "center";
    c.font = "600 20px system-ui, sans-serif";
    c.fillText(kmh.toFixed(0), x, y - 5);
    c.font = "11px system-ui, sans-serif";
    c.fillText("km/h", x, y + 10);
    c.restore();
  }
}

function line(c, ax, ay, bx, by) {
  c.beginPath();
  c.moveTo(ax, ay);
  c.lineTo(bx, by);
  c.stroke();
}

function dot(c, x, y, r) {
  c.beginPath();
  c.arc(x, y, r, 0, 2 * Math.PI);
  c.fill();
}

function box(c, x, y, w, h, r) {
  c.beginPath();
  c.roundRect(x, y, w, h, r);
  c.fill();
}

// mix mixes two colours of the form #rrggbb.
const mixed = new Map();
function mix(a, b, t) {
  const k = Math.round(Math.min(Math.max(t, 0), 1) * 16);
  const key = a + b + k;
  if (!mixed.has(key)) {
    const parts = [1, 3, 5].map((i) => {
      const p = parseInt(a.slice(i, i + 2), 16), q = parseInt(b.slice(i, i + 2), 16);
      return Math.round(p + (q - p) * k / 16);
    });
    mixed.set(key, `rgb(${parts.join(",")})`);
  }
  return mixed.get(key);
}
