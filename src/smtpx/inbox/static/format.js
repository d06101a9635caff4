// How things are written: sizes, times, addresses, and text that tries to deceive.

const UNITS = ["B", "kB", "MB", "GB"];

/** Write a size: 812 B, 4.2 kB. */
export function octets(count) {
  let unit = 0;
  let value = count;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = unit && value < 10 ? 1 : 0;
  return `${value.toFixed(digits)} ${UNITS[unit]}`;
}

const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const DAY = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const NUMBER = new Intl.NumberFormat(undefined);

export const number = (value) => NUMBER.format(value);

export function shortTime(text) {
  const date = new Date(text);
  return date.toDateString() === new Date().toDateString() ? TIME.format(date) : DAY.format(date);
}

export const fullTime = (text) => FULL.format(new Date(text));

// Characters that change the order of what follows, or that nobody sees: with them
// "photo\u202Egnp.exe" reads as "photoexe.png". They are shown instead of obeyed.
const HIDDEN = /[\u0000-\u0008\u000B-\u001F\u007F-\u009F\u061C\u200B\u200E\u200F\u2028-\u202E\u2060-\u2069\uFEFF]/gu;

export function visible(text) {
  return (text ?? "").replace(
    HIDDEN,
    (one) => `\u27E8U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27E9`,
  );
}

// Who wrote a message; where it has no From, who sent it.
export const authorOf = (message) => message.from ?? (message.sender ? { name: "", address: message.sender } : null);

export const nameOf = (who) => (who ? visible(who.name || who.address) : "(nobody)");

export function addressOf(who) {
  return who.name ? `${visible(who.name)} <${visible(who.address)}>` : visible(who.address);
}

export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;
