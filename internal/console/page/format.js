// How numbers are written: few digits, always as many, so that columns stay put.

const fixed = (v, digits) => v.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

// rate writes a number a second.
export const rate = (v) => (!Number.isFinite(v) ? "–" : v >= 100 ? fixed(v, 0) : v >= 10 || v === 0 ? fixed(v, v === 0 ? 0 : 1) : fixed(v, 2));

// count writes a whole number.
export const count = (v) => (!Number.isFinite(v) ? "–" : fixed(v, 0));

// duration splits seconds into a number and its unit.
export const duration = (s) => {
  if (!Number.isFinite(s)) return ["–", ""];
  const [v, unit] = s >= 1 ? [s, "s"] : s >= 1e-3 ? [s * 1e3, "ms"] : [s * 1e6, "µs"];
  return [v >= 100 ? fixed(v, 0) : v >= 10 ? fixed(v, 1) : fixed(v, 2), unit];
};

export const durationText = (s) => duration(s).join(" ").trim();

// percent writes a share of 1.
export const percent = (v) =>
  !Number.isFinite(v) ? "–" : v === 0 ? "0 %" : v < 0.0001 ? "< 0.01 %" : v < 0.1 ? fixed(v * 100, 2) + " %" : fixed(v * 100, 1) + " %";

// value writes a value of an observation or an action.
export const value = (v) => {
  if (v === null || v === undefined) return "–";
  if (typeof v !== "number") return String(v);
  if (!Number.isFinite(v)) return String(v);
  if (Number.isInteger(v) && Math.abs(v) < 1e6) return String(v);
  const size = Math.abs(v);
  return size >= 1e6 || size < 1e-4 ? v.toExponential(2) : size >= 1000 ? v.toFixed(1) : size >= 10 ? v.toFixed(2) : v.toFixed(4);
};

// bytes splits a number of bytes into a number and its unit.
export const bytes = (v) => {
  if (!Number.isFinite(v)) return ["–", ""];
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (v >= 1024 && i < units.length - 1) {
    v /= 1024;
    i++;
  }
  return [fixed(v, i === 0 || v >= 100 ? 0 : 1), units[i]];
};

// ago writes how long ago a time in seconds since 1970 was.
export const ago = (at, now = Date.now() / 1000) => (at > 0 ? span(Math.max(0, now - at)) + " ago" : "–");

// span writes a time in its two largest units.
export const span = (s) => {
  if (!Number.isFinite(s)) return "–";
  s = Math.floor(s);
  const d = Math.floor(s / 86400), h = Math.floor(s / 3600) % 24, m = Math.floor(s / 60) % 60;
  if (d > 0) return `${d} d ${h} h`;
  if (h > 0) return `${h} h ${m} min`;
  if (m > 0) return `${m} min ${s % 60} s`;
  return `${s} s`;
};

// clock writes a time of the day to a thousandth of a second.
export const clock = (date) => {
  const two = (v) => String(v).padStart(2, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
};
