// Sending a message on to a real server, from the list that whoever runs the inbox gave.

import * as api from "./api.js";
import { h, openDialog, toast } from "./dom.js";
import { visible } from "./format.js";

export function openRelease(message, info) {
  if (!info.release.enabled) {
    openDialog(
      "Release",
      h(
        "div",
        { class: "dialog-body" },
        h("p", {}, "No server is allowed to get mail from this inbox. Name one when you start it:"),
        h("pre", { class: "command" }, "smtpx inbox --release-to smtp://mail.example.com:587"),
      ),
    );
    return;
  }
  const to = h("textarea", { id: "release-to", rows: "3", required: true, spellcheck: "false" }, message.recipients.map(visible).join("\n"));
  const server = h("select", { id: "release-server" }, info.release.servers.map((url) => h("option", { value: url }, url)));
  const error = h("p", { class: "form-error", role: "alert", hidden: true });
  const send = h("button", { type: "submit", class: "primary" }, "Release");
  const form = h(
    "form",
    { class: "dialog-body", submit },
    h("p", { class: "faint" }, "The message leaves this inbox unchanged, to real people."),
    h("label", { for: "release-to" }, "To, one address a line"),
    to,
    h("label", { for: "release-server" }, "By way of"),
    server,
    error,
    h("div", { class: "dialog-actions" }, h("button", { type: "button", class: "plain", click: () => dialog.close() }, "Cancel"), send),
  );
  const dialog = openDialog("Release", form);

  async function submit(event) {
    event.preventDefault();
    send.disabled = true;
    error.hidden = true;
    const recipients = to.value.split(/[\s,]+/).filter(Boolean);
    try {
      await api.release(message.id, { to: recipients, server: server.value });
      dialog.close();
      toast(`Released to ${recipients.length === 1 ? recipients[0] : `${recipients.length} recipients`}`);
    } catch (failure) {
      error.textContent = failure.message;
      error.hidden = false;
    }
    send.disabled = false;
  }
}
