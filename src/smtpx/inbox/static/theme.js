// Loaded before the page is drawn, so that it does not flash in the wrong colours.
"use strict";

(() => {
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const stored = () => {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // a browser that keeps nothing
    }
  };

  function show() {
    root.dataset.theme = stored() ?? (dark.matches ? "dark" : "light");
  }

  root.addEventListener("toggle-theme", () => {
    const theme = root.dataset.theme === "dark" ? "light" : "dark";
    try {
      // What the system has anyway is followed, also when it changes at night.
      if (theme === (dark.matches ? "dark" : "light")) localStorage.removeItem("theme");
      else localStorage.setItem("theme", theme);
    } catch {
      // Then it lasts until the page is closed.
    }
    root.dataset.theme = theme;
  });
  dark.addEventListener("change", show);
  show();
})();
