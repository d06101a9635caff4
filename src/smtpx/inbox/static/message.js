// One message: its head, its tabs, and what can be done with it.

import * as api from "./api.js";
import { button, h, icon, toast } from "./dom.js";
import { addressOf, authorOf, fullTime, nameOf, octets, visible } from "./format.js";
import { openRelease } from "./release.js";
import { TABS } from "./tabs.js";

export class MessageView {
  /**
   * @param element where it is shown
   * @param actions {back(), removed(id), unread(id), info(), moved(tab)}
   */
  constructor(element, actions) {
    this.element = element;
    this.actions = actions;
    this.message = null;
    this.wanted = 0;
    this.loading = new AbortController();
  }

  /** Give up what is asked for on behalf of a tab: it would be late, or of nothing. */
  #leave() {
    this.loading.abort();
    this.loading = new AbortController();
    return this.loading.signal;
  }

  async show(id, tab) {
    const wanted = (this.wanted += 1);
    if (this.message?.id !== id) {
      let message;
      try {
        message = await api.message(id);
      } catch (error) {
        if (wanted === this.wanted) this.gone(error.message);
        return null;
      }
      if (wanted !== this.wanted) return null; // another one was opened meanwhile
      this.message = message;
      this.#build();
    }
    this.open(tab);
    return this.message;
  }

  clear(...content) {
    this.wanted += 1;
    this.#leave();
    this.message = null;
    this.element.replaceChildren(...content);
  }

  gone(text) {
    this.clear(
      h(
        "div",
        { class: "quiet-page" },
        h("h2", {}, "This message cannot be shown"),
        h("p", {}, text),
        button("Back to the list", null, this.actions.back),
      ),
    );
  }

  #build() {
    const message = this.message;
    this.tabs = TABS.filter((tab) => !tab.applies || tab.applies(message));
    this.panel = h("div", { class: "panel", role: "tabpanel", id: "panel", tabindex: "0" });
    this.tablist = h(
      "div",
      { class: "tabs", role: "tablist", "aria-label": "Parts of the message", keydown: (event) => this.#arrows(event) },
      this.tabs.map((tab) => {
        const count = tab.count?.(message);
        return h(
          "button",
          {
            type: "button",
            role: "tab",
            id: `tab-${tab.name}`,
            "aria-controls": "panel",
            click: () => this.actions.moved(tab.name),
          },
          tab.title,
          count ? h("span", { class: `badge ${tab.tone?.(message) ?? ""}` }, String(count)) : null,
        );
      }),
    );
    this.element.replaceChildren(this.#head(), this.tablist, this.panel);
    this.opened = null;
  }

  #head() {
    const message = this.message;
    const to = [...message.to, ...message.cc];
    const line = (name, content) =>
      content ? h("div", { class: "meta-line" }, h("dt", {}, name), h("dd", {}, content)) : null;
    const people = (list) =>
      list.length ? list.slice(0, 20).map((one, at) => [at ? ", " : "", h("bdi", {}, addressOf(one))]).flat() : null;
    const marks = [
      message.tls ? h("span", { class: "pill", title: "It came over TLS" }, icon("lock"), message.tls.version ?? "TLS") : null,
      message.user ? h("span", { class: "pill", title: "The client authenticated" }, icon("shield"), visible(message.user)) : null,
      message.has_html ? null : h("span", { class: "pill" }, "text only"),
    ];
    return h(
      "header",
      { class: "message-head" },
      h(
        "div",
        { class: "subject-line" },
        button("Back to the list", "back", this.actions.back, { quiet: true, class: "tool icon-only back" }),
        h("h1", {}, h("bdi", {}, visible(message.subject) || "(no subject)")),
        h(
          "div",
          { class: "actions" },
          button("Release", "send", () => this.release(), { title: "Send it on to a real server (r)" }),
          h(
            "a",
            { class: "tool icon-only", href: api.pathOf(message.id, "/raw"), download: `${message.id}.eml`, title: "Download (s)", "aria-label": "Download as a file" },
            icon("down"),
          ),
          button("Mark as unread", "dot", () => this.actions.unread(message.id), { quiet: true, title: "Mark as unread (shift+u)" }),
          button("Delete", "trash", () => this.remove(), { quiet: true, title: "Delete (#)" }),
        ),
      ),
      h(
        "div",
        { class: "sender" },
        h("span", { class: "avatar", "aria-hidden": "true" }, initial(authorOf(message))),
        h(
          "dl",
          { class: "meta" },
          h(
            "div",
            { class: "meta-line first" },
            h("dt", { class: "hidden" }, "From"),
            h(
              "dd",
              {},
              h("b", {}, h("bdi", {}, nameOf(authorOf(message)))),
              message.from?.name ? [" ", h("span", { class: "faint" }, h("bdi", {}, visible(message.from.address)))] : null,
            ),
          ),
          line("to", people(to) ?? people(message.recipients.map((address) => ({ name: "", address })))),
          h(
            "div",
            { class: "meta-line" },
            h("dt", { class: "hidden" }, "Received"),
            h("dd", { class: "faint" }, h("time", { datetime: message.received_at }, fullTime(message.received_at)), ` \u00b7 ${octets(message.octets)}`, marks),
          ),
        ),
      ),
    );
  }

  open(name) {
    const tab = this.tabs.find((one) => one.name === name) ?? this.tabs[0];
    if (this.opened === tab) return;
    this.opened = tab;
    for (const one of this.tablist.children) {
      const isOpen = one.id === `tab-${tab.name}`;
      one.setAttribute("aria-selected", String(isOpen));
      one.tabIndex = isOpen ? 0 : -1;
      if (isOpen) one.scrollIntoView({ block: "nearest", inline: "nearest" });
    }
    this.panel.setAttribute("aria-labelledby", `tab-${tab.name}`);
    this.panel.className = `panel panel-${tab.name}`;
    const place = h("div", { class: "panel-content" });
    this.panel.replaceChildren(place);
    const signal = this.#leave();
    Promise.resolve(tab.fill(place, this.message, signal)).catch((error) => {
      if (!signal.aborted) place.replaceChildren(h("p", { class: "quiet" }, error.message));
    });
  }

  #again() {
    const { name } = this.opened;
    this.opened = null;
    this.open(name);
  }

  nth(number) {
    if (this.tabs?.[number]) this.actions.moved(this.tabs[number].name);
  }

  #arrows(event) {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    const at = this.tabs.indexOf(this.opened) + by + this.tabs.length;
    const tab = this.tabs[at % this.tabs.length];
    this.actions.moved(tab.name);
    this.open(tab.name);
    this.tablist.querySelector(`#tab-${tab.name}`).focus();
  }

  async release() {
    if (this.message) openRelease(this.message, await this.actions.info());
  }

  async remove() {
    const { id, subject } = this.message;
    this.removing = id;
    // Before, so that none of it meets a message that is gone.
    this.#leave();
    try {
      await api.remove(id);
    } catch (error) {
      toast(error.message, "error");
      if (this.message?.id === id) this.#again();
      return;
    }
    toast(`Deleted \u201c${visible(subject).slice(0, 60) || "(no subject)"}\u201d`);
    this.actions.removed(id);
  }
}

function initial(who) {
  const letter = (who?.name || who?.address || "?").match(/[\p{L}\p{N}]/u);
  return letter ? letter[0].toUpperCase() : "?";
}

