// The car of training/driving_env.py, number for number: the same seed gives
// the same road, and the same actions give the same drive. Names and constants
// are those of the Python file, which explains them. Lengths are metres, angles
// radians, times seconds; left is positive.
//
// What both compute differs by no more than sin, cos and tan of two
// mathematical libraries do. drive_vectors.json, which training/vectors.py
// writes, holds both to that.

export const POINT_SPACING = 2;
export const ROAD_POINTS = 111;
export const HALF_WIDTH = 4;
export const START_POINT = 5;
const STRAIGHT_POINTS = 10;
const BLOCK_DEPTH = [1.8, 2.6];
const BLOCK_POINTS = 5;
const CURVE_POINTS = [8, 16];
const CURVE_RADIUS = [14, 40];

export const BODY_RADIUS = 0.9;
export const WHEEL_BASE = 2.6;
export const WHEEL_ANGLE_MAX = 0.5;
const WHEEL_RATE = 4;
const THROTTLE_ACCELERATION = 4;
const BRAKE_ACCELERATION = 7;
const DRAG = 0.02;
const GRIP = 6;
const SPEED_START = [4, 9];
const SPEED_MAX = 200 / 3.6;

export const SENSOR_ANGLES = [70, 30, 0, -30, -70].map((degrees) => Math.PI * degrees / 180);
export const SENSOR_RANGE = 30;

export const TIME_STEP = 0.1;
const TIME_MAX = 44.95; // seconds, between the last step but one and the last of the environment's 450
export const ROAD_LENGTH = (ROAD_POINTS - 1) * POINT_SPACING;

const MASK = (1n << 64n) - 1n;

// SplitMix64 is the splitmix64 generator. The seed is a whole number.
export class SplitMix64 {
  constructor(seed) {
    this.state = BigInt(seed) & MASK;
  }

  next() {
    this.state = (this.state + 0x9E3779B97F4A7C15n) & MASK;
    let z = this.state;
    z = ((z ^ (z >> 30n)) * 0xBF58476D1CE4E5B9n) & MASK;
    z = ((z ^ (z >> 27n)) * 0x94D049BB133111EBn) & MASK;
    return z ^ (z >> 31n);
  }

  uniform(low, high) {
    return low + (high - low) * (Number(this.next() >> 11n) * (1 / 2 ** 53));
  }

  // integer returns a whole number of [low, high].
  integer(low, high) {
    return low + Number(this.next() % BigInt(high - low + 1));
  }
}

const clamp = (v, low, high) => Math.min(Math.max(v, low), high);

// Road is a centre line and two edges, all polylines, drawn from a generator.
// edges[0] is the left one, edges[1] the right; a point is [x, y].
export class Road {
  constructor(random) {
    const curvature = drawCurvature(random);
    const [left, right] = drawHalfWidths(random);
    this.x = new Float64Array(ROAD_POINTS);
    this.y = new Float64Array(ROAD_POINTS);
    this.heading = new Float64Array(ROAD_POINTS);
    for (let i = 1; i < ROAD_POINTS; i++) {
      this.heading[i] = this.heading[i - 1] + curvature[i] * POINT_SPACING;
      const middle = (this.heading[i - 1] + this.heading[i]) / 2;
      this.x[i] = this.x[i - 1] + POINT_SPACING * Math.cos(middle);
      this.y[i] = this.y[i - 1] + POINT_SPACING * Math.sin(middle);
    }
    this.halfWidths = [left, right];
    this.edges = [this.offset(left, 1), this.offset(right, -1)];
  }

  // offset is the line beside the centre line, by a width of each point, to the
  // left (side 1) or to the right (side -1).
  offset(widths, side) {
    return widths.map((w, i) => [
      this.x[i] - side * w * Math.sin(this.heading[i]),
      this.y[i] + side * w * Math.cos(this.heading[i]),
    ]);
  }
}

function drawCurvature(random) {
  const curvature = new Float64Array(ROAD_POINTS);
  let side = random.integer(0, 1) === 1 ? 1 : -1;
  for (let point = STRAIGHT_POINTS; point < ROAD_POINTS; side = -side) {
    const length = random.integer(...CURVE_POINTS);
    const limit = 1.3 / (length * POINT_SPACING);
    const bend = clamp(side / random.uniform(...CURVE_RADIUS), -limit, limit);
    curvature.fill(bend, point, Math.min(point + length, ROAD_POINTS));
    point += length;
  }
  return curvature;
}

function drawHalfWidths(random) {
  const left = new Array(ROAD_POINTS).fill(HALF_WIDTH);
  const right = new Array(ROAD_POINTS).fill(HALF_WIDTH);
  for (let point = random.integer(14, 22); point + BLOCK_POINTS < ROAD_POINTS; point += random.integer(14, 22)) {
    const depth = random.uniform(...BLOCK_DEPTH);
    const edge = random.integer(0, 1) === 1 ? left : right;
    edge.fill(HALF_WIDTH - depth, point + 1, point + BLOCK_POINTS - 1);
  }
  return [left, right];
}

// Car drives one episode: the road of a seed from its start to its end.
export class Car {
  constructor(seed) {
    const random = new SplitMix64(seed);
    this.road = new Road(random);
    const side = random.uniform(-1.5, 1.5);
    const heading = this.road.heading[START_POINT];
    this.x = this.road.x[START_POINT] - side * Math.sin(heading);
    this.y = this.road.y[START_POINT] + side * Math.cos(heading);
    this.heading = heading + random.uniform(-0.15, 0.15);
    this.speed = random.uniform(...SPEED_START);
    this.steering = 0;
    this.turn = 0; // of the step before, rad/s
    this.point = START_POINT;
    this.steps = this.seconds = 0;
    this.crashed = this.success = this.truncated = false;
    this.travelled = this.locate();
    this.sense();
  }

  get over() {
    return this.crashed || this.success || this.truncated;
  }

  // step moves the car by seconds under an action, whose values are clipped.
  step({ throttle, brake, steer }, seconds = TIME_STEP) {
    throttle = clamp(throttle, 0, 1);
    brake = clamp(brake, 0, 1);
    steer = clamp(steer, -1, 1);
    const change = WHEEL_RATE * seconds;
    this.steering += clamp(steer - this.steering, -change, change);
    const acceleration = THROTTLE_ACCELERATION * throttle - BRAKE_ACCELERATION * brake - DRAG * this.speed * this.speed;
    this.speed = clamp(this.speed + acceleration * seconds, 0, SPEED_MAX);
    let turn = this.speed / WHEEL_BASE * Math.tan(this.steering * WHEEL_ANGLE_MAX);
    if (this.speed * Math.abs(turn) > GRIP) turn = Math.sign(turn) * (GRIP / this.speed);
    const middle = this.heading + turn * seconds / 2;
    this.x += this.speed * seconds * Math.cos(middle);
    this.y += this.speed * seconds * Math.sin(middle);
    this.heading += turn * seconds;
    this.turn = turn;
    this.steps++;

    this.travelled = this.locate();
    this.sense();
    this.crashed = this.clearance < BODY_RADIUS;
    this.success = !this.crashed && this.point >= ROAD_POINTS - 2;
    this.seconds += seconds;
    this.truncated = !(this.crashed || this.success) && this.seconds > TIME_MAX;
  }

  // locate returns the distance along the centre line; it moves point, the
  // nearest one, by at most two.
  locate() {
    const { road } = this;
    let best = Infinity, at = this.point;
    for (let i = Math.max(this.point - 2, 0); i < Math.min(this.point + 3, ROAD_POINTS); i++) {
      const dx = road.x[i] - this.x, dy = road.y[i] - this.y;
      const distance = dx * dx + dy * dy;
      if (distance < best) [best, at] = [distance, i];
    }
    this.point = at;
    const heading = road.heading[at];
    return at * POINT_SPACING + ((this.x - road.x[at]) * Math.cos(heading) + (this.y - road.y[at]) * Math.sin(heading));
  }

  // sense sets sensors, readings of 0 to 1 from left to right, and clearance,
  // the distance of the nearest edge.
  sense() {
    const first = Math.max(this.point - 8, 0), last = Math.min(this.point + 17, ROAD_POINTS - 1);
    const rays = SENSOR_ANGLES.map((angle) => [Math.cos(this.heading + angle), Math.sin(this.heading + angle)]);
    const ranges = rays.map(() => SENSOR_RANGE);
    let nearest = Infinity;
    for (const edge of this.road.edges) {
      for (let i = first; i < last; i++) {
        const ax = edge[i][0] - this.x, ay = edge[i][1] - this.y;
        const ex = edge[i + 1][0] - edge[i][0], ey = edge[i + 1][1] - edge[i][1];
        // A ray d*t meets a segment a + e*u where t and u solve the two equations.
        rays.forEach(([dx, dy], k) => {
          const cross = dx * ey - dy * ex;
          const t = (ax * ey - ay * ex) / cross;
          const u = (ax * dy - ay * dx) / cross;
          if (t >= 0 && u >= 0 && u <= 1 && t < ranges[k]) ranges[k] = t;
        });
        const u = clamp(-(ax * ex + ay * ey) / (ex * ex + ey * ey), 0, 1);
        const px = ax + u * ex, py = ay + u * ey;
        nearest = Math.min(nearest, px * px + py * py);
      }
    }
    this.sensors = ranges.map((r) => Math.min(r / SENSOR_RANGE, 1));
    this.clearance = Math.sqrt(nearest);
  }

  // observation is what the policy sees, in float32 as the environment gives it.
  observation() {
    return {
      speed: Math.fround(this.speed * 3.6),
      steering: Math.fround(this.steering),
      sensors: this.sensors.map(Math.fround),
    };
  }
}
