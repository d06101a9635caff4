// Who sent the message: SPF, DKIM, DMARC, ARC and the client's name.

import * as api from "./api.js";
import { copyButton, h } from "./dom.js";
import { visible } from "./format.js";

const METHODS = [
  ["spf", "SPF", "May this client send for the reverse path?"],
  ["dkim", "DKIM", "Who signed the message?"],
  ["dmarc", "DMARC", "Does the author\u2019s domain stand for it?"],
  ["arc", "ARC", "Who handled it before?"],
  ["iprev", "iprev", "Do the client\u2019s name and address agree?"],
];
const TONES = { pass: "good", fail: "bad", permerror: "bad", softfail: "warn", temperror: "warn", policy: "warn" };

/** Verdicts come as one word, as an object with a result, or as several of these. */
function entries(verdict) {
  if (verdict === null || verdict === undefined) return [];
  if (Array.isArray(verdict)) return verdict.flatMap(entries);
  if (typeof verdict === "string") return [{ result: verdict }];
  return [verdict];
}

const word = (value) => (typeof value === "object" ? JSON.stringify(value) : String(value));

function card([key, title, question], verdict) {
  const found = entries(verdict);
  const results = found.length ? found : [{ result: "none" }];
  return h(
    "section",
    { class: "verdict" },
    h("h3", {}, title),
    h("p", { class: "faint" }, question),
    results.map(({ result, ...rest }) =>
      h(
        "div",
        { class: "verdict-result", "data-method": key },
        h("span", { class: `result ${TONES[result] ?? ""}` }, visible(String(result))),
        h(
          "dl",
          {},
          Object.entries(rest)
            .filter(([, value]) => value !== null && value !== "" && !(Array.isArray(value) && !value.length))
            .map(([name, value]) => h("div", {}, h("dt", {}, name.replaceAll("_", " ")), h("dd", {}, h("bdi", {}, visible(word(value)))))),
        ),
      ),
    ),
  );
}

export async function showVerdicts(place, message, signal) {
  const waiting = h("p", { class: "quiet" }, "Asking the DNS \u2026");
  place.append(waiting);
  const verdicts = await api.more(message.id, "verdicts", signal);
  const field = verdicts.authentication_results;
  waiting.replaceWith(
    h("div", { class: "verdicts" }, METHODS.map((method) => card(method, verdicts[method[0]]))),
    ...(field ? [h("h2", {}, "Authentication-Results"), h("div", { class: "boxed" }, copyButton(() => field), h("pre", {}, visible(field)))] : []),
  );
}
