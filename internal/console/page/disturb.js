// What can be wrong with the sensors of the drive. The readings of a car go
// through one Disturbance: delayed, biased, noisy, then the dead one. Its random
// numbers come from the seed of the drive, so that a drive can be repeated, and
// so that two cars of the same step see the same noise.
import { SplitMix64 } from "./physics.js";

export const CLEAN = Object.freeze({ noise: 0, bias: 0, dead: -1, delay: 0 });

// HARD is what the demo policy cannot drive with: with clean sensors it drove
// roads 1 to 30 to their ends, with these it left every one, after 4.6 s on
// average. A bias to farther, or a dead sensor ahead, only makes it slow.
export const HARD = Object.freeze({ noise: 0.2, bias: 0, dead: -1, delay: 5 });

export const DELAY_MAX = 10;

export const isClean = (s) => s.noise === 0 && s.bias === 0 && s.dead < 0 && s.delay === 0;

export class Disturbance {
  constructor(seed) {
    // Away from the generator of the road, which begins at the seed itself.
    this.random = new SplitMix64(BigInt(seed) ^ 0x6A09E667F3BCC908n);
    this.past = [];
  }

  // apply returns the readings that the policy is told of, each of [0, 1].
  // noise is a standard deviation and bias an offset, both in fractions of the
  // sensors' range; dead is the sensor that reads nothing, -1 for none; delay is
  // in steps.
  apply(sensors, { noise, bias, dead, delay }) {
    this.past.unshift(sensors);
    this.past.length = Math.min(this.past.length, DELAY_MAX + 1);
    const seen = this.past[Math.min(delay, this.past.length - 1)];
    // All are drawn in every step, so that what is set does not change what
    // the steps behind it draw.
    const draws = sensors.map(() => this.normal());
    return seen.map((v, i) => {
      if (i === dead) return 0;
      return Math.fround(Math.min(Math.max(v + bias + noise * draws[i], 0), 1));
    });
  }

  // normal draws from N(0, 1) by the method of Box and Muller.
  normal() {
    const u = 1 - this.random.uniform(0, 1), v = this.random.uniform(0, 1);
    return Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * v);
  }
}
