import { el } from "./dom.js";

export const tryIt = (root, app) => {
  root.append(el("p", { class: "empty" }, "…"));
  return { show() {}, hide() {} };
};
