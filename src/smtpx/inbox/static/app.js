// The page: what is shown follows from its address, #/MESSAGE/TAB.

import * as api from "./api.js";
import { byId, confirmThat, toast } from "./dom.js";
import { FaultPanel } from "./faults.js";
import { number, plural } from "./format.js";
import { nothingChosen, openHelp, welcome } from "./help.js";
import { MessageList } from "./list.js";
import { MessageView } from "./message.js";

const SEARCH_PAUSE = 150; // milliseconds without a key before the search begins

const root = document.documentElement;
const search = byId("search");
let filter = "";
let hasLoaded = false;

const fail = (error) => toast(error.message, "error");

// ------------------------------------------------------------------------- the parts

const view = new MessageView(byId("view"), {
  back: () => go(null),
  moved: (tab) => go(view.message.id, tab),
  info: api.info,
  removed: () => leave(),
  unread: async (id) => {
    await api.markRead([id], false).catch(fail);
    list.setRead([{ id, read: false }]);
    go(null);
  },
});

const list = new MessageList(byId("list"), api.messages, {
  open: (row) => go(row.id),
  changed: showState,
});

const faults = new FaultPanel(byId("faults"));

/** Messages went away: show what is in the place of the one that was open. */
async function leave() {
  const { index } = list;
  const isNarrow = matchMedia("(max-width: 760px)").matches;
  list.select(null);
  await list.refresh().catch(fail);
  if (list.total && index >= 0 && !isNarrow) await list.choose(index);
  else go(null);
}

// ------------------------------------------------------------------------ the address

function go(id, tab = null) {
  const hash = id === null ? "#/" : `#/${encodeURIComponent(id)}${tab ? `/${tab}` : ""}`;
  if (location.hash === hash) route();
  // Tabs and messages that were passed by are no steps back; opening one is.
  else if (id !== null && root.dataset.open) {
    history.replaceState(null, "", hash);
    route();
  } else location.hash = hash;
}

async function route() {
  if (!/^(#\/|$)/.test(location.hash)) return;
  const [id, tab] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
  if (!id) {
    delete root.dataset.open;
    list.select(null);
    if (hasLoaded) await showEmpty();
    return;
  }
  root.dataset.open = "message";
  if (list.selected !== id) list.select(id);
  const message = await view.show(id, tab ?? kept(id));
  if (message && !message.read) {
    message.read = true;
    list.setRead([{ id, read: true }]);
    api.markRead([id], true).catch(fail);
  }
}

/** The tab that was open stays open from one message to the next. */
function kept(id) {
  const isOther = view.message && view.message.id !== id;
  return isOther && view.opened !== view.tabs[0] ? view.opened.name : null;
}

async function showEmpty() {
  const isNew = !list.total && !query();
  view.clear(isNew ? welcome(await api.info()) : nothingChosen(list.total));
}

// --------------------------------------------------------------------------- the list

const query = () => [search.value.trim(), filter].filter(Boolean).join(" ");

function showState() {
  const hasBegun = hasLoaded;
  hasLoaded = true;
  const nothing = byId("nothing");
  nothing.hidden = list.total > 0;
  nothing.textContent = query() ? "Nothing matches." : "No messages yet.";
  root.dataset.list = list.total ? "some" : query() ? "unmatched" : "none";
  if (!root.dataset.open) {
    const key = `${root.dataset.list}`;
    if (!hasBegun || byId("view").dataset.shown !== key) {
      byId("view").dataset.shown = key;
      showEmpty().catch(fail);
    }
  }
}

/** Show how many there are, whatever is searched for. */
function count({ total, unread }) {
  byId("total").textContent = total ? number(total) : "";
  byId("unread").textContent = unread ? number(unread) : "";
  document.title = unread ? `(${number(unread)}) Inbox` : "Inbox";
}

let pause = null;

function startSearch() {
  clearTimeout(pause);
  pause = setTimeout(() => list.search(query()).catch(fail), SEARCH_PAUSE);
}

search.addEventListener("input", startSearch);
search.form.addEventListener("submit", (event) => {
  event.preventDefault();
  byId("list").focus();
});

for (const one of document.querySelectorAll("[data-filter]"))
  one.addEventListener("click", () => {
    filter = one.dataset.filter;
    for (const other of document.querySelectorAll("[data-filter]"))
      other.setAttribute("aria-pressed", String(other === one));
    list.search(query()).catch(fail);
  });

async function readAll() {
  await api.markRead(null, true).catch(fail);
  await list.refresh().catch(fail);
}

async function deleteAll() {
  if (!list.total) return;
  const wanted = query();
  const what = plural(list.total, "message");
  const where = wanted ? `${what} that the search found` : `all ${what}`;
  if (!(await confirmThat("Delete", `This deletes ${where}. It cannot be undone.`, "Delete"))) return;
  try {
    await api.removeAll(wanted ? { query: wanted } : {});
    toast(`Deleted ${what}`);
    go(null);
    await list.refresh();
  } catch (error) {
    fail(error);
  }
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("list").focus();
});
byId("read-all").addEventListener("click", readAll);
byId("delete-all").addEventListener("click", deleteAll);
byId("keys").addEventListener("click", openHelp);
const toggleTheme = () => root.dispatchEvent(new Event("toggle-theme"));
byId("theme").addEventListener("click", toggleTheme);

// --------------------------------------------------------------------------- the keys

const KEYS = {
  j: () => list.move(1),
  ArrowDown: () => list.move(1),
  k: () => list.move(-1),
  ArrowUp: () => list.move(-1),
  Home: () => list.choose(0),
  End: () => list.choose(list.total - 1),
  Enter: () => (list.selected ? byId("panel")?.focus() : list.move(0)),
  u: () => back(),
  Escape: () => back(),
  "#": () => view.message && view.remove(),
  Delete: () => view.message && view.remove(),
  U: () => view.message && view.actions.unread(view.message.id),
  I: readAll,
  r: () => view.release(),
  s: () => view.element.querySelector("a[download]")?.click(),
  "/": () => search.focus(),
  f: () => faults.open(),
  t: toggleTheme,
  "?": openHelp,
};
const IN_LIST_ONLY = new Set(["ArrowDown", "ArrowUp", "Home", "End", "Enter"]);

function back() {
  go(null);
  byId("list").focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (document.querySelector("dialog[open]")) return;
  const { target } = event;
  if (target.closest("input, textarea, select")) {
    if (event.key === "Escape" || event.key === "ArrowDown") byId("list").focus();
    return;
  }
  if (IN_LIST_ONLY.has(event.key) && !(target === document.body || target.closest("#list"))) return;
  if (/^[1-9]$/.test(event.key)) {
    view.nth(Number(event.key) - 1);
    return;
  }
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

// ---------------------------------------------------------------------------- the news

function showLive(isLive) {
  const live = byId("live");
  live.classList.toggle("lost", !isLive);
  live.textContent = isLive ? "Live" : "Reconnecting";
}

const refresh = () => list.refresh().catch(fail);

const REFRESH_PAUSE = 300; // milliseconds, when mail comes in faster than anybody reads
let isPausing = false;
let isWaiting = false;

/** Refresh at once, but not again before a pause is over. */
function refreshNow() {
  if (isPausing) {
    isWaiting = true;
    return;
  }
  isPausing = true;
  refresh();
  setTimeout(() => {
    isPausing = false;
    if (isWaiting) refreshNow();
    isWaiting = false;
  }, REFRESH_PAUSE);
}

api.follow({
  open: () => {
    showLive(true);
    refresh();
    faults.refresh().catch(fail);
  },
  lost: () => showLive(false),
  hello: count,
  message: (event) => {
    count(event);
    refreshNow();
  },
  deleted: async (event) => {
    count(event);
    const { ids } = event;
    const id = view.message?.id;
    // What this page deletes itself it leaves by itself.
    const isOpen = id && id !== view.removing && (ids === null || ids.includes(id));
    await refresh();
    if (isOpen && view.message?.id === id) view.gone("It was deleted.");
  },
  read: (event) => {
    count(event);
    if (event.messages) list.setRead(event.messages);
    else refresh();
  },
  faults: () => faults.refresh().catch(fail),
});

window.addEventListener("hashchange", () => route().catch(fail));
route().catch(fail);
refresh();
