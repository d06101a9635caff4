// The list of messages. However many there are, only the rows in sight are in the
// document, and only the pages in sight are asked for.

import { h, icon } from "./dom.js";
import { authorOf, nameOf, plural, shortTime, visible } from "./format.js";

const PAGE = 100;
const SPARE = 6; // rows beyond each edge, so that scrolling shows no gap
const MAX_PAGES = 50; // kept; those asked for first go first

export class MessageList {
  /**
   * @param element the listbox
   * @param load (query, start, limit) => page of the API
   * @param events {open(row), changed(list)}
   */
  constructor(element, load, events) {
    this.element = element;
    this.sizer = element.firstElementChild;
    this.load = load;
    this.events = events;
    this.query = "";
    this.total = 0;
    this.unread = 0;
    this.selected = null; // the id
    this.index = -1; // where it was seen last
    this.pages = new Map();
    this.rows = new Map(); // elements by index
    this.version = 0;
    element.addEventListener("scroll", () => this.draw(), { passive: true });
    element.addEventListener("click", (event) => this.#clicked(event));
    new ResizeObserver(() => this.draw()).observe(element);
  }

  get height() {
    return parseFloat(getComputedStyle(this.element).getPropertyValue("--row")) || 76;
  }

  /** Show what another query finds. */
  async search(query) {
    this.query = query;
    this.element.scrollTop = 0;
    this.pages.clear();
    await this.refresh();
  }

  /** Ask again for what is in sight; several calls while one is under way are one. */
  async refresh() {
    this.version += 1;
    if (this.refreshing) return this.refreshing;
    this.refreshing = this.#refresh();
    try {
      await this.refreshing;
    } finally {
      this.refreshing = null;
    }
  }

  async #refresh() {
    let version;
    do {
      version = this.version;
      const query = this.query;
      const [first, last] = this.#inSight();
      const from = Math.floor(first / PAGE);
      const to = Math.floor(Math.max(last, 0) / PAGE);
      const fresh = new Map();
      let page;
      for (let number = from; number <= to; number += 1) {
        page = await this.load(query, number * PAGE, PAGE);
        fresh.set(number, page.messages);
      }
      if (query !== this.query) continue;
      this.#keepPlace(page.total - this.total);
      this.pages = fresh;
      this.total = page.total;
      this.unread = page.unread;
      this.#find();
      this.#forgetRows();
      this.draw();
      this.events.changed(this);
    } while (version !== this.version);
  }

  /** New rows come in above: what somebody reads further down must not move. */
  #keepPlace(added) {
    if (added > 0 && this.element.scrollTop > 0 && this.total > 0) {
      this.sizer.style.height = `${(this.total + added) * this.height}px`;
      this.element.scrollTop += added * this.height;
    }
  }

  #find() {
    for (const [number, rows] of this.pages) {
      const at = rows.findIndex((row) => row.id === this.selected);
      if (at >= 0) this.index = number * PAGE + at;
    }
  }

  at(index) {
    return this.pages.get(Math.floor(index / PAGE))?.[index % PAGE];
  }

  #inSight() {
    const height = this.height;
    const first = Math.floor(this.element.scrollTop / height) - SPARE;
    const count = Math.ceil(this.element.clientHeight / height) + 2 * SPARE;
    return [Math.max(first, 0), Math.min(first + count, Math.max(this.total - 1, 0))];
  }

  draw() {
    const height = this.height;
    if (height !== this.drawnHeight) this.#forgetRows(); // another width of the page
    this.drawnHeight = height;
    this.sizer.style.height = `${this.total * height}px`;
    const [first, last] = this.#inSight();
    for (const [index, row] of this.rows) {
      if (index < first || index > last || index >= this.total) {
        row.remove();
        this.rows.delete(index);
      }
    }
    for (let index = first; index <= last && index < this.total; index += 1) {
      if (this.rows.has(index)) continue;
      const message = this.at(index);
      if (!message) {
        this.#fetch(Math.floor(index / PAGE));
        continue;
      }
      const row = this.#row(message, index);
      row.style.transform = `translateY(${index * height}px)`;
      this.rows.set(index, row);
      this.sizer.append(row);
    }
    this.#mark();
  }

  async #fetch(number) {
    if (this.pages.has(number)) return;
    this.pages.set(number, []);
    const { query, version, pages } = this;
    const page = await this.load(query, number * PAGE, PAGE).catch(() => null);
    if (query !== this.query || version !== this.version || pages !== this.pages) return;
    if (!page) {
      pages.delete(number);
      return;
    }
    pages.set(number, page.messages);
    if (pages.size > MAX_PAGES) pages.delete(pages.keys().next().value);
    this.draw();
  }

  #forgetRows() {
    for (const row of this.rows.values()) row.remove();
    this.rows.clear();
  }

  #row(message, index) {
    const to = message.recipients.length ? message.recipients : message.to.map((one) => one.address);
    const more = (message.recipient_count ?? to.length) - 1;
    const marks = [
      message.problems ? h("span", { class: "mark warn", title: plural(message.problems, "problem") }, icon("warn")) : null,
      message.attachments ? h("span", { class: "mark", title: plural(message.attachments, "file") }, icon("clip")) : null,
    ];
    return h(
      "div",
      {
        class: message.read ? "row" : "row unread",
        role: "option",
        id: `row-${message.id}`,
        "data-index": index,
        "aria-setsize": this.total,
        "aria-posinset": index + 1,
      },
      h(
        "div",
        { class: "row-top" },
        h("span", { class: "who" }, h("bdi", {}, nameOf(authorOf(message))), message.read ? null : h("span", { class: "hidden" }, ", unread")),
        h("time", { datetime: message.received_at }, shortTime(message.received_at)),
      ),
      h("div", { class: "row-subject" }, h("bdi", {}, visible(message.subject) || "(no subject)"), marks),
      h(
        "div",
        { class: "row-rest" },
        h("span", { class: "to" }, "to ", h("bdi", {}, visible(to[0] ?? "nobody")), more > 0 ? ` +${more}` : ""),
        message.snippet ? h("bdi", {}, visible(message.snippet)) : null,
      ),
    );
  }

  #mark() {
    let active = null;
    for (const [index, row] of this.rows) {
      const isSelected = this.at(index)?.id === this.selected;
      row.setAttribute("aria-selected", String(isSelected));
      if (isSelected) active = row.id;
    }
    if (active) this.element.setAttribute("aria-activedescendant", active);
    else this.element.removeAttribute("aria-activedescendant");
  }

  #clicked(event) {
    const row = event.target.closest(".row");
    if (row) this.choose(Number(row.dataset.index));
  }

  /** Choose the message in a place of the list, and open it. */
  async choose(index) {
    if (!this.total) return;
    const place = Math.min(Math.max(index, 0), this.total - 1);
    this.reveal(place);
    if (!this.at(place)) {
      this.pages.delete(Math.floor(place / PAGE));
      await this.#fetch(Math.floor(place / PAGE));
    }
    const message = this.at(place);
    if (!message) return;
    this.index = place;
    this.select(message.id);
    this.events.open(message);
  }

  move(by) {
    return this.choose(this.index < 0 ? 0 : this.index + by);
  }

  select(id) {
    this.selected = id;
    if (id === null) this.index = -1;
    else this.#find();
    this.#mark();
  }

  reveal(index) {
    const top = index * this.height;
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + this.height > scrollTop + clientHeight)
      this.element.scrollTop = top + this.height - clientHeight;
  }

  /** Show that messages were read, or not, without asking for them. */
  setRead(changes) {
    const read = new Map(changes.map((one) => [one.id, one.read]));
    for (const [number, rows] of this.pages)
      rows.forEach((row, at) => {
        if (!read.has(row.id) || row.read === read.get(row.id)) return;
        row.read = read.get(row.id);
        const index = number * PAGE + at;
        this.rows.get(index)?.remove();
        this.rows.delete(index);
      });
    this.draw();
  }
}
