// The JSON API of the inbox.

const BASE = "/api/v1";

export class APIError extends Error {}

async function call(method, path, body, signal) {
  const options = { method, signal };
  if (body !== undefined) {
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(body);
  }
  const response = await fetch(BASE + path, options);
  if (!response.ok) {
    let text = `${response.status} ${response.statusText}`;
    try {
      text = (await response.json()).error ?? text;
    } catch {
      // Something in between answered: its status has to do.
    }
    throw new APIError(text);
  }
  return response;
}

const json = async (...request) => (await call(...request)).json();

export const pathOf = (id, rest = "") => `${BASE}/message/${encodeURIComponent(id)}${rest}`;
const one = (id, rest = "") => `/message/${encodeURIComponent(id)}${rest}`;

export const info = () => json("GET", "/info");
export const message = (id) => json("GET", one(id));
export const more = (id, what, signal) => json("GET", one(id, `/${what}`), undefined, signal);
export const raw = async (id, signal) => (await call("GET", one(id, "/raw?inline"), undefined, signal)).text();
export const release = (id, order) => json("POST", one(id, "/release"), order);
export const markRead = (ids, read) => json("PUT", "/messages", { ids, read });
export const removeAll = (order) => json("DELETE", "/messages", order);
export const remove = (id) => removeAll({ ids: [id] });
export const faults = () => json("GET", "/faults");
export const addFault = (fault) => json("POST", "/faults", fault);
export const removeFault = (id) => call("DELETE", `/faults/${encodeURIComponent(id)}`);
export const removeFaults = () => call("DELETE", "/faults");

export function messages(query, start, limit) {
  const parameters = new URLSearchParams({ query, start, limit });
  return json("GET", `/messages?${parameters}`);
}

/** Follow what changes. The browser connects again by itself. */
export function follow(handlers) {
  const source = new EventSource(`${BASE}/events`);
  source.addEventListener("open", handlers.open);
  source.addEventListener("error", handlers.lost);
  for (const name of ["hello", "message", "deleted", "read", "faults"])
    source.addEventListener(name, (event) => handlers[name](JSON.parse(event.data)));
}
