import { el } from "./dom.js";

export const steps = (root, app) => {
  root.append(el("p", { class: "empty" }, "…"));
  return { show() {}, hide() {} };
};
