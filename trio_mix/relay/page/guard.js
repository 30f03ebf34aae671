// Keeps a key or a finger from answering a question that has just appeared under it.
//
// An answer counts only if the press began when the question had been in its place for a while.
// A question that moves, because another one came or went or the window changed, waits again.

import { button } from "./dom.js";

/** Milliseconds that a question must be in its place. */
export const PAUSE = 600;

export class Guard {
  constructor() {
    this._readyAt = Infinity;
    this._buttons = new Set();
    this._timer = 0;
    this._restart = () => this.restart();
    document.addEventListener("visibilitychange", this._restart);
    window.addEventListener("resize", this._restart);
    this.restart();
  }

  get ready() {
    return performance.now() >= this._readyAt;
  }

  /** Wait again: something has moved. */
  restart() {
    clearTimeout(this._timer);
    this._readyAt = performance.now() + PAUSE;
    for (const each of this._buttons) each.setAttribute("aria-disabled", "true");
    this._timer = setTimeout(() => this._arm(), PAUSE);
  }

  _arm() {
    if (!this.ready) {
      this._timer = setTimeout(() => this._arm(), this._readyAt - performance.now() + 1);
      return;
    }
    for (const each of this._buttons) {
      if (each.isConnected) each.removeAttribute("aria-disabled");
      else this._buttons.delete(each);
    }
  }

  /** Return a button whose presses are checked. */
  button(label, onclick, attributes = {}) {
    let refused = false;
    const checked = button(label, null, { "aria-disabled": "true", ...attributes });
    const press = () => {
      refused = !this.ready || checked.hasAttribute("aria-disabled");
    };
    checked.addEventListener("pointerdown", press);
    checked.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      if (!event.repeat) press();
      if (event.repeat || refused) event.preventDefault();
    });
    checked.addEventListener("keyup", (event) => {
      if (event.key === " " && refused) event.preventDefault();
      refused = false; // the press is over
    });
    checked.addEventListener("click", (event) => {
      event.preventDefault();
      const counts = !refused && this.ready && !checked.hasAttribute("aria-disabled");
      refused = false;
      if (counts) onclick();
    });
    this._buttons.add(checked);
    if (this.ready) this.restart();
    return checked;
  }

  close() {
    clearTimeout(this._timer);
    document.removeEventListener("visibilitychange", this._restart);
    window.removeEventListener("resize", this._restart);
  }
}
