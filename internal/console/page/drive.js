// The drive: a car on its road, controlled by the version in force.
//
// A view is a function that is given the element that it draws into and the app
// (app.js), is called once when the view is first shown, and returns show() and
// hide(), which are called as it comes and goes.
import { el } from "./dom.js";

export const drive = (root, app) => {
  root.append(el("p", { class: "empty" }, "The drive is not part of this build."));
  return { show() {}, hide() {} };
};
