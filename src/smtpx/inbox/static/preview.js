// The HTML of a message, in a frame that runs nothing and loads nothing.

import * as api from "./api.js";
import { h, icon } from "./dom.js";
import { plural, visible } from "./format.js";

// As wide as an iPhone and an iPad; the media queries of a mail go by it.
const WIDTHS = [
  { name: "phone", title: "Phone", pixels: 390 },
  { name: "tablet", title: "Tablet", pixels: 768 },
  { name: "desktop", title: "Full width", pixels: null },
];
// What a link needs to open; no scripts, no forms, no origin. The response that fills
// the frame says the same in its content security policy.
const SANDBOX = "allow-popups allow-popups-to-escape-sandbox";

let width = "desktop"; // kept from one message to the next

export async function showHtml(place, message, signal) {
  const source = api.pathOf(message.id, "/html");
  const frame = h("iframe", {
    src: source,
    sandbox: SANDBOX,
    title: "HTML of the message",
    referrerpolicy: "no-referrer",
  });
  const stage = h("div", { class: "stage" }, frame);
  const buttons = WIDTHS.map((one) =>
    h(
      "button",
      {
        type: "button",
        class: "tool icon-only",
        title: one.pixels ? `${one.title}, ${one.pixels} pixels` : one.title,
        "aria-label": one.pixels ? `${one.title} width` : one.title,
        click: () => choose(one.name),
      },
      icon(one.name),
    ),
  );
  function choose(name) {
    width = name;
    WIDTHS.forEach((one, at) => {
      buttons[at].setAttribute("aria-pressed", String(one.name === name));
      if (one.name === name) frame.style.width = one.pixels ? `${one.pixels}px` : "";
    });
    stage.dataset.width = name;
  }
  choose(width);
  const note = h("div", { class: "left-out", role: "note" });
  place.append(
    h(
      "div",
      { class: "stage-bar" },
      note,
      h("div", { class: "segmented", role: "group", "aria-label": "Width" }, buttons),
      h("a", { class: "tool icon-only", href: source, target: "_blank", rel: "noopener", title: "Open alone", "aria-label": "Open alone" }, icon("open")),
    ),
    stage,
  );
  const { removed } = await api.more(message.id, "removed", signal);
  note.append(icon("shield"), removed.length ? details(removed) : h("span", {}, "Nothing was left out"));
}

function details(removed) {
  const count = removed.reduce((sum, one) => sum + one.count, 0);
  return h(
    "details",
    {},
    h("summary", {}, `${plural(count, "thing")} left out, nothing was loaded`),
    h(
      "ul",
      {},
      removed.map((one) =>
        h("li", {}, `${one.count} \u00d7 ${one.what}`, one.where.length ? h("span", { class: "faint" }, ` from ${visible(one.where.join(", "))}`) : null),
      ),
    ),
  );
}
