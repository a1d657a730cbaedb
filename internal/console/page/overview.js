import { el } from "./dom.js";
import { spark } from "./plot.js";

export const overview = (root, app) => {
  root.append(el("p", { class: "empty" }, "…"), spark().node);
  return { show() {}, hide() {} };
};
