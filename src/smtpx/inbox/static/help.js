// The page of the keyboard, and what an empty inbox says.

import { copyButton, h, openDialog } from "./dom.js";

const KEYS = [
  [["j", "\u2193"], "Next message"],
  [["k", "\u2191"], "Previous message"],
  [["enter"], "Read the message"],
  [["u", "esc"], "Back to the list"],
  [["1", "\u2026", "9"], "Tabs of the message"],
  [["#", "del"], "Delete"],
  [["shift+u"], "Mark as unread"],
  [["shift+i"], "Mark all as read"],
  [["r"], "Release to a real server"],
  [["s"], "Download"],
  [["/"], "Search"],
  [["f"], "Faults"],
  [["t"], "Dark or light"],
  [["?"], "This list"],
];

const SEARCHES = [
  ["from:ann", "by the author"],
  ["to:bob subject:invoice", "both"],
  ["has:attachment", "with files"],
  ["is:unread", "not read yet"],
  ["-subject:test", "without that word"],
];

export function openHelp() {
  const row = (keys, text) => h("div", {}, h("dt", {}, keys.map((key) => h("kbd", {}, key))), h("dd", {}, text));
  openDialog(
    "Keyboard and search",
    h(
      "div",
      { class: "dialog-body help" },
      h("dl", {}, KEYS.map(([keys, text]) => row(keys, text))),
      h("h3", {}, "Search"),
      h("dl", { class: "searches" }, SEARCHES.map(([query, text]) => h("div", {}, h("dt", {}, h("code", {}, query)), h("dd", {}, text)))),
    ),
    "wide",
  );
}

/** What to type to see a first message, for this inbox's address. */
function examples(url) {
  const { hostname, port } = new URL(url.replace(/^\w+(\+\w+)?:/, "http:"));
  return [
    ["Shell", `smtpx send --server ${url} \\\n  --from ann@example.com --to bob@example.com \\\n  --subject "Hello" --body "It works."`],
    [
      "Python",
      `import smtplib\n\nwith smtplib.SMTP("${hostname}", ${port}) as server:\n    server.sendmail("ann@example.com", ["bob@example.com"],\n        "From: ann@example.com\\nSubject: Hello\\n\\nIt works.")`,
    ],
    ["Django", `EMAIL_BACKEND = "smtpx.app.django.EmailBackend"\nEMAIL_HOST = "${hostname}"\nEMAIL_PORT = ${port}`],
    ["Node.js", `nodemailer.createTransport({\n  host: "${hostname}", port: ${port}, ignoreTLS: true,\n})`],
  ];
}

export function welcome(info) {
  const url = info.smtp[0] ?? info.lmtp[0];
  if (!url) return h("div", { class: "quiet-page" }, h("h2", {}, "No messages yet"), h("p", {}, "The inbox listens on a socket of this machine."));
  const code = h("code", {});
  const tabs = examples(url).map(([title, text]) =>
    h(
      "button",
      {
        type: "button",
        "aria-pressed": "false",
        click: (event) => {
          code.textContent = text;
          for (const one of event.currentTarget.parentElement.children) one.setAttribute("aria-pressed", String(one === event.currentTarget));
        },
      },
      title,
    ),
  );
  const page = h(
    "div",
    { class: "quiet-page welcome" },
    h("h2", {}, "No messages yet"),
    h("p", {}, "Send mail to ", h("code", { class: "address" }, url), " and it appears here at once. Nothing leaves this machine."),
    h("div", { class: "segmented words", role: "group", "aria-label": "With" }, tabs),
    h("div", { class: "boxed" }, copyButton(() => code.textContent), h("pre", {}, code)),
    h("p", { class: "faint" }, [
      info.auth ? "Any user and password are accepted. " : "",
      info.tls ? "STARTTLS is offered, with a certificate made for the day." : "",
    ]),
  );
  tabs[0].click();
  return page;
}

export function nothingChosen(count) {
  return h(
    "div",
    { class: "quiet-page" },
    h("h2", {}, count ? "Choose a message" : "Nothing found"),
    h("p", { class: "hint-keys" }, h("kbd", {}, "j"), h("kbd", {}, "k"), " move, ", h("kbd", {}, "/"), " search, ", h("kbd", {}, "?"), " all keys"),
  );
}
