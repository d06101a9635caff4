// The tabs of a message. `fill` puts the content into a place; it may be asynchronous,
// and gives up what it asked for when the signal says that the tab is left.

import * as api from "./api.js";
import { copyButton, h, icon } from "./dom.js";
import { addressOf, number, octets, plural, visible } from "./format.js";
import { showHtml } from "./preview.js";
import { showVerdicts } from "./verdicts.js";

const MAX_TEXT = 1_000_000; // characters shown at once; the download has all
const MAX_FIELDS = 500; // likewise, of header fields

function pre(text, kind) {
  const isCut = text.length > MAX_TEXT;
  return [
    h("pre", { class: kind, dir: "auto" }, isCut ? text.slice(0, MAX_TEXT) : text),
    isCut ? h("p", { class: "quiet" }, `Cut off after ${number(MAX_TEXT)} characters: download it for the rest.`) : null,
  ].filter(Boolean);
}

const LINK = /https?:\/\/[^\s<>"'\u200B\u202A-\u202E\u2066-\u2069]+[^\s<>"'.,;:!?)\]}\u200B\u202A-\u202E\u2066-\u2069]/giu;

/** Plain text with its links made to click on. */
function showText(place, message) {
  const text = message.text.slice(0, MAX_TEXT);
  const out = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    out.push(text.slice(end, match.index));
    out.push(h("a", { href: match[0], target: "_blank", rel: "noopener noreferrer" }, match[0]));
    end = match.index + match[0].length;
  }
  out.push(text.slice(end));
  place.append(
    h("div", { class: "corner" }, copyButton(() => message.text)),
    message.text ? h("pre", { class: "text", dir: "auto" }, out) : h("p", { class: "quiet" }, "The message has no plain text."),
  );
  if (message.text_is_cut) place.append(h("p", { class: "quiet" }, "Cut off: download it for the rest."));
}

async function showSource(place, message, signal) {
  const source = await api.raw(message.id, signal);
  place.append(h("div", { class: "corner" }, copyButton(() => source)), ...pre(source, "source"));
}

function showHeaders(place, message) {
  const table = h("table", { class: "fields" }, h("caption", { class: "hidden" }, "Header fields"));
  const body = h("tbody");
  const row = ([name, value]) =>
    h("tr", {}, h("th", { scope: "row" }, visible(name)), h("td", {}, h("bdi", {}, visible(value.replace(/\r?\n(?=[ \t])/g, "").trim()))));
  body.append(...message.headers.slice(0, MAX_FIELDS).map(row));
  table.append(body);
  place.append(table);
  const rest = message.headers.length - MAX_FIELDS;
  if (rest > 0) place.append(h("p", { class: "quiet" }, `${number(rest)} more fields: see the source.`));
}

function showFiles(place, message) {
  place.append(
    h(
      "ul",
      { class: "files" },
      message.attachments.map((file) =>
        h(
          "li",
          {},
          h("span", { class: "file-icon", "aria-hidden": "true" }, extension(file.name)),
          h(
            "div",
            {},
            h("b", {}, h("bdi", {}, visible(file.name))),
            h("span", { class: "faint" }, `${visible(file.type)} \u00b7 ${octets(file.octets)}`, file.inline ? ` \u00b7 shown as cid:${visible(file.content_id)}` : ""),
          ),
          h("a", { class: "tool", href: api.pathOf(message.id, `/part/${file.part}`), download: file.name }, icon("down"), h("span", { class: "label" }, "Download")),
        ),
      ),
    ),
  );
}

function extension(name) {
  const match = /\.([A-Za-z0-9]{1,4})$/.exec(name);
  return match ? match[1].toLowerCase() : "file";
}

const list = (items) =>
  items.length ? h("ul", { class: "plain-list" }, items.map((one) => h("li", {}, h("bdi", {}, one)))) : h("span", { class: "faint" }, "none");

function showEnvelope(place, message) {
  const { envelope } = message;
  if (envelope.differs.length)
    place.append(h("div", { class: "note" }, icon("warn"), h("div", {}, envelope.differs.map((text) => h("p", {}, visible(text))))));
  const field = (people) => list(people.map(addressOf));
  const recipients = envelope.recipients.map((one) => visible(one.address) + (one.parameters ? `  ${visible(one.parameters)}` : ""));
  const row = (name, left, right) => h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, left), h("td", {}, right));
  place.append(
    h(
      "table",
      { class: "compare" },
      h("thead", {}, h("tr", {}, h("td"), h("th", { scope: "col" }, "Envelope"), h("th", { scope: "col" }, "Header"))),
      h(
        "tbody",
        {},
        row("Sender", h("bdi", {}, envelope.sender ? visible(envelope.sender) : "<> (null)"), field(message.from ? [message.from] : [])),
        row("Recipients", list(recipients), h("div", {}, field([...message.to, ...message.cc, ...message.bcc]))),
        row("Parameters", h("code", {}, visible(envelope.parameters) || "none"), h("span", { class: "faint" }, "\u2013")),
      ),
    ),
    h("h2", {}, "Session"),
    facts([
      ["Client", message.peer],
      ["Hello name", message.hello_name],
      ["Protocol", message.protocol],
      ["TLS", message.tls ? [message.tls.version, message.tls.cipher, message.tls.server_name].filter(Boolean).join(" \u00b7 ") : "none"],
      ["User", message.user],
      ["Server", message.hostname],
      ["Session", message.session],
      ["Message-ID", message.message_id],
      ["Reply to", message.reply_to.map((one) => one.address).join(", ")],
    ]),
  );
}

const facts = (pairs) =>
  h("dl", { class: "facts" }, pairs.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, h("bdi", {}, visible(String(value)))))));

const SPEAKERS = { C: "client", S: "server", "-": "between" };

async function showDialogue(place, message, signal) {
  const { lines } = await api.more(message.id, "dialogue", signal);
  const start = lines.length ? new Date(lines[0].at) : 0;
  const row = (line) => {
    const isRefusal = line.from === "S" && /^[45]\d\d/.test(line.text);
    return h(
      "li",
      { class: `${SPEAKERS[line.from] ?? "between"}${isRefusal ? " refusal" : ""}` },
      h("span", { class: "when" }, `${((new Date(line.at) - start) / 1000).toFixed(3)} s`),
      h("span", { class: "speaker" }, line.from === "-" ? "" : line.from, h("span", { class: "hidden" }, line.from === "C" ? "lient" : line.from === "S" ? "erver" : "")),
      h("code", {}, visible(line.text)),
    );
  };
  place.append(
    h("div", { class: "corner" }, copyButton(() => lines.map((one) => `${one.from}: ${one.text}`).join("\n"))),
    h("p", { class: "legend" }, h("span", { class: "client" }, "C"), " client", h("span", { class: "server" }, "S"), " server"),
    h("ol", { class: "dialogue" }, lines.map(row)),
  );
}

const SEVERITIES = { error: "Error", warning: "Warning", hint: "Hint" };

async function showComplaints(place, message, signal) {
  const { complaints } = await api.more(message.id, "complaints", signal);
  if (!complaints.length) {
    place.append(h("div", { class: "all-well" }, icon("check"), h("p", {}, "A strict server has nothing to complain of.")));
    return;
  }
  const row = (one) =>
    h("li", { class: one.severity }, h("span", { class: "severity" }, SEVERITIES[one.severity] ?? one.severity), h("div", {}, h("p", {}, visible(one.text)), one.rfc ? h("span", { class: "faint" }, one.rfc) : null));
  place.append(h("ul", { class: "complaints" }, complaints.map(row)));
  if (message.defects.length)
    place.append(h("details", {}, h("summary", {}, plural(message.defects.length, "defect of the structure", "defects of the structure")), list(message.defects.map(visible))));
}

/** {name, title, fill(place, message, signal), applies?, count?, tone?} */
export const TABS = [
  { name: "html", title: "HTML", fill: showHtml, applies: (message) => message.has_html },
  { name: "text", title: "Text", fill: showText },
  { name: "source", title: "Source", fill: showSource },
  { name: "headers", title: "Headers", fill: showHeaders },
  { name: "files", title: "Files", fill: showFiles, applies: (message) => message.attachments.length > 0, count: (message) => message.attachments.length },
  { name: "envelope", title: "Envelope", fill: showEnvelope, count: (message) => message.envelope.differs.length },
  { name: "dialogue", title: "Dialogue", fill: showDialogue },
  { name: "verdicts", title: "Verdicts", fill: showVerdicts },
  { name: "checks", title: "Checks", fill: showComplaints, count: (message) => message.problems, tone: () => "warn" },
];
