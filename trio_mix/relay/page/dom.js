// Small helpers for the document. Text is only ever set as text, never as HTML.

/** Make an element; attributes that begin with "on" are listeners, null and false are left out. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function button(label, onclick, attributes = {}) {
  return el("button", { type: "button", onclick, ...attributes }, label);
}

let number = 0;

/** Return an id that no other element has. */
export function uniqueId(prefix) {
  number += 1;
  return `${prefix}-${number}`;
}

/** Return a number with its noun, as in "1 file" or "3 files". */
export function counted(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}

const scheduled = new Map();
let waiting = false;

/** Call a function before the next paint, once for a key. In a hidden tab, within 100 ms. */
export function schedule(key, callback) {
  scheduled.set(key, callback);
  if (waiting) return;
  waiting = true;
  let done = false;
  const run = () => {
    if (done) return;
    done = true;
    waiting = false;
    const calls = [...scheduled.values()];
    scheduled.clear();
    for (const call of calls) call();
  };
  requestAnimationFrame(run);
  setTimeout(run, 100);
}

/** Have a screen reader say a text: politely, or at once. */
export function announce(text, { urgent = false } = {}) {
  const region = document.getElementById(urgent ? "alerts" : "news");
  const line = el("p", {}, text.slice(0, 400));
  region.append(line);
  setTimeout(() => line.remove(), 20_000);
}

/** Return a random key; also where the page has no secure context. */
export function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
