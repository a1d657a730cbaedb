"use strict";
// The theme is set before anything is drawn: a module would come too late and
// the page would flash. Only the choice of a theme is ever stored.
const themes = {
  stored() {
    try {
      return localStorage.getItem("carla-rl-theme") ?? "system";
    } catch {
      return "system"; // a browser that stores nothing
    }
  },
  set(name) {
    if (name === "light" || name === "dark") document.documentElement.dataset.theme = name;
    else delete document.documentElement.dataset.theme;
    try {
      if (name === "system") localStorage.removeItem("carla-rl-theme");
      else localStorage.setItem("carla-rl-theme", name);
    } catch {
      // As above: the choice holds until the page is closed.
    }
  },
};
themes.set(themes.stored());
