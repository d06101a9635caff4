// What goes wrong on demand: a panel at the side.

import * as api from "./api.js";
import { button, h, openDialog, toast } from "./dom.js";
import { plural, visible } from "./format.js";

const STAGES = [
  ["connect", "A client connects", "when a client connects"],
  ["hello", "EHLO", "at EHLO"],
  ["start_tls", "STARTTLS", "at STARTTLS"],
  ["auth", "AUTH", "at AUTH"],
  ["mail", "MAIL, the sender", "at MAIL"],
  ["rcpt", "RCPT, a recipient", "at RCPT"],
  ["start_data", "DATA, before the message", "at DATA"],
  ["data", "The end of the message", "after the message"],
];
// What a pattern is compared with.
const PATTERNS = {
  connect: ["Only for clients at", "10.0.0.*"],
  hello: ["Only for clients that are called", "*.example.com"],
  start_tls: ["Only for clients that are called", "*.example.com"],
  auth: ["Only for users", "ann*"],
  mail: ["Only for senders", "*@example.com"],
};
const RECIPIENTS = ["Only for recipients", "*@example.com"];
const REPLIES = [
  ["451 4.3.0 try again later", "451 \u2013 try again later"],
  ["421 4.3.2 closing down", "421 \u2013 closing down"],
  ["450 4.2.0 greylisted", "450 \u2013 greylisted"],
  ["452 4.2.2 mailbox full", "452 \u2013 mailbox full"],
  ["535 5.7.8 wrong password", "535 \u2013 wrong password"],
  ["550 5.1.1 no such user", "550 \u2013 no such user"],
  ["552 5.3.4 message too large", "552 \u2013 too large"],
  ["554 5.7.1 rejected as spam", "554 \u2013 spam"],
];

const stageOf = (name) => STAGES.find(([one]) => one === name) ?? [name, name, `at ${name}`];

/** Say in words what a fault does. */
export function describe(fault) {
  const what = [];
  if (fault.delay) what.push(`wait ${fault.delay} s`);
  if (fault.reply) what.push(`answer \u201c${fault.reply}\u201d`);
  if (fault.drop) what.push("drop the connection");
  const where = fault.pattern && fault.pattern !== "*" ? ` for ${fault.pattern}` : "";
  const often = fault.probability < 1 ? `, in ${Math.round(fault.probability * 100)} % of cases` : "";
  const times = fault.times ? `, ${plural(fault.times, "time")}` : "";
  const text = `${what.join(", then ") || "do nothing"} ${stageOf(fault.stage)[2]}${where}${often}${times}`;
  return visible(text.charAt(0).toUpperCase() + text.slice(1));
}

/** Keep the button's count, and open the panel. */
export class FaultPanel {
  constructor(trigger) {
    this.trigger = trigger;
    this.faults = [];
    trigger.addEventListener("click", () => this.open());
  }

  async refresh() {
    const found = await api.faults();
    this.faults = found.faults ?? found;
    const count = this.trigger.querySelector(".count");
    count.hidden = !this.faults.length;
    count.textContent = String(this.faults.length);
    this.trigger.classList.toggle("active", this.faults.length > 0);
    if (this.list?.isConnected) this.#fill();
  }

  open() {
    if (document.querySelector("dialog[open]")) return;
    this.list = h("ul", { class: "fault-list" });
    openDialog(
      "Make something go wrong",
      h(
        "div",
        { class: "dialog-body" },
        h("p", { class: "faint" }, "See how your program copes. What you set here holds for new connections and commands until you remove it."),
        this.#form(),
        this.list,
      ),
      "drawer",
    );
    this.#fill();
    this.refresh().catch((error) => toast(error.message, "error"));
  }

  #fill() {
    const rows = this.faults.map((fault) =>
      h(
        "li",
        {},
        h("div", {}, h("b", {}, describe(fault)), h("span", { class: "faint" }, fault.hits ? `struck ${plural(fault.hits, "time")}` : "has not struck yet")),
        button("Remove", "trash", () => this.#change(api.removeFault(fault.id)), { quiet: true }),
      ),
    );
    this.list.replaceChildren(
      ...(rows.length
        ? [h("li", { class: "fault-head" }, h("h3", {}, "Active"), button("Remove all", null, () => this.#change(api.removeFaults()), { class: "tool" })), ...rows]
        : [h("li", { class: "quiet" }, "Everything works as it should.")]),
    );
  }

  async #change(request) {
    try {
      await request;
      await this.refresh();
      return true;
    } catch (error) {
      toast(error.message, "error");
      return false;
    }
  }

  #form() {
    const field = (name, label, control) => h("div", { class: "field" }, h("label", { for: `fault-${name}` }, label), control);
    const stage = h("select", { id: "fault-stage", autofocus: true }, STAGES.map(([value, label]) => h("option", { value }, label)));
    stage.value = "rcpt";
    const pattern = h("input", { id: "fault-pattern", placeholder: "*@example.com", autocomplete: "off", spellcheck: "false" });
    const effect = h(
      "select",
      { id: "fault-effect" },
      REPLIES.map(([value, label]) => h("option", { value }, label)),
      h("option", { value: "other" }, "Another reply \u2026"),
      h("option", { value: "drop" }, "Nothing: it drops the connection"),
      h("option", { value: "wait" }, "What it would say anyway, but later"),
    );
    const reply = h("input", { id: "fault-reply", placeholder: "554 5.7.1 no thanks", autocomplete: "off", spellcheck: "false" });
    const delay = h("input", { id: "fault-delay", type: "number", min: "0", max: "3600", step: "0.1", value: "0" });
    const share = h("input", { id: "fault-share", type: "range", min: "5", max: "100", step: "5", value: "100" });
    const times = h("input", { id: "fault-times", type: "number", min: "1", placeholder: "always" });
    const preview = h("p", { class: "preview", "aria-live": "polite" });
    const replyField = field("reply", "Reply", reply);
    const patternField = field("pattern", RECIPIENTS[0], pattern);

    const isReply = () => /^\d/.test(effect.value);
    const value = () => ({
      stage: stage.value,
      pattern: pattern.value.trim() || null,
      reply: (effect.value === "other" ? reply.value.trim() : isReply() && effect.value) || null,
      drop: effect.value === "drop",
      delay: Number(delay.value) || 0,
      probability: Number(share.value) / 100,
      times: times.value ? Number(times.value) : null,
    });
    const update = () => {
      replyField.hidden = effect.value !== "other";
      const [label, example] = PATTERNS[stage.value] ?? RECIPIENTS;
      patternField.firstChild.textContent = label;
      pattern.placeholder = example;
      delay.min = effect.value === "wait" ? "0.1" : "0";
      if (effect.value === "wait" && !Number(delay.value)) delay.value = "2";
      preview.textContent = `${describe(value())}.`;
    };
    const form = h(
      "form",
      {
        class: "fault-form",
        input: update,
        submit: async (event) => {
          event.preventDefault();
          if (await this.#change(api.addFault(value()))) toast("It will go wrong now");
        },
      },
      field("stage", "When", stage),
      field("effect", "The server says", effect),
      replyField,
      patternField,
      h(
        "div",
        { class: "field-row" },
        field("delay", "Wait (seconds)", delay),
        field("times", "How many times", times),
        field("share", "In how many cases", share),
      ),
      preview,
      h("button", { type: "submit", class: "primary" }, "Add"),
    );
    update();
    return form;
  }
}
