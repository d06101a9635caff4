// Making elements. What a message says becomes text nodes and attribute values, never
// markup: nothing in these files parses HTML.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element. Attributes that are null or false are left out. */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== null && value !== undefined && value !== false)
      element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== false));
  return element;
}

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** A button with an icon; its text is shown beside it, or read out only. */
export function button(text, name, click, { quiet = false, title = null, ...rest } = {}) {
  return h(
    "button",
    {
      type: "button",
      class: quiet ? "tool icon-only" : "tool",
      title: title ?? (quiet ? text : null),
      "aria-label": quiet ? text : null,
      click,
      ...rest,
    },
    name ? icon(name) : null,
    quiet ? null : h("span", { class: "label" }, text),
  );
}

export const byId = (id) => document.getElementById(id);

/** Say something at the edge of the page for a while. */
export function toast(text, kind = "done") {
  const note = h("p", { class: `toast ${kind}` }, text);
  byId("toasts").append(note);
  setTimeout(() => note.remove(), kind === "error" ? 8000 : 3000);
}

export async function copy(text) {
  await navigator.clipboard.writeText(text);
  toast("Copied");
}

export const copyButton = (text, label = "Copy") =>
  button(label, "copy", () => copy(text()).catch((error) => toast(error.message, "error")), {
    quiet: true,
  });

/** Open a dialog; it is removed when it closes. Returns the element. */
export function openDialog(title, content, kind = "") {
  const head = h(
    "header",
    {},
    h("h2", { id: "dialog-title" }, title),
    button("Close", "close", () => dialog.close(), { quiet: true }),
  );
  const dialog = h("dialog", { class: kind, "aria-labelledby": "dialog-title" }, head, content);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("mousedown", (event) => {
    if (event.target === dialog) dialog.close(); // beside it
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Ask before something that cannot be undone. */
export function confirmThat(title, text, verb) {
  return new Promise((resolve) => {
    let answer = false;
    const yes = () => {
      answer = true;
      dialog.close();
    };
    const dialog = openDialog(
      title,
      h(
        "div",
        { class: "dialog-body" },
        h("p", {}, text),
        h(
          "div",
          { class: "dialog-actions" },
          h("button", { type: "button", class: "plain", click: () => dialog.close() }, "Cancel"),
          h("button", { type: "button", class: "danger", click: yes, autofocus: true }, verb),
        ),
      ),
    );
    dialog.addEventListener("close", () => resolve(answer));
  });
}
