// The messages that the relay has not accepted yet: each is sent until it is answered.

import * as api from "./api.js";
import { announce, button, el, randomKey } from "./dom.js";
import { appendText, plain } from "./visible.js";

const LONGEST_PAUSE = 8000;

export class Outbox {
  constructor(session) {
    this._session = session;
    this._ended = false;
    this._wake = () => {};
    this.element = el("ol", { class: "outbox", "aria-label": "Messages that are being sent" });
    this._online = () => this._wake();
    document.addEventListener("connected", this._online);
    this._last = Promise.resolve();
  }

  end() {
    this._ended = true;
    document.removeEventListener("connected", this._online);
    this._wake();
  }

  /** Send a message, after those before it. */
  send(text) {
    const entry = { key: randomKey(), text, status: el("span", { role: "status" }, "sending…"), discarded: false };
    const shown = el("span", { class: "message", dir: "auto" });
    appendText(shown, text.length > 300 ? `${text.slice(0, 300)}…` : text);
    entry.actions = el("span");
    entry.item = el("li", {}, shown, " ", entry.status, " ", entry.actions);
    this.element.append(entry.item);
    this._last = this._last.then(() => this._deliver(entry));
  }

  async _deliver(entry) {
    let pause = 500;
    while (!this._ended && !entry.discarded) {
      try {
        await api.send(this._session, entry.key, entry.text);
        break;
      } catch (error) {
        const waiting = new Promise((resolve) => {
          this._wake = resolve;
        });
        if (error.passing) {
          entry.status.textContent = `not sent yet (${plain(error.message)}); trying again…`;
          this._offer(entry);
          const time = Math.min(Math.max(pause, error.retryAfter * 1000), LONGEST_PAUSE);
          pause *= 2;
          await Promise.race([waiting, new Promise((resolve) => setTimeout(resolve, time))]);
        } else {
          entry.status.textContent = `not sent: ${plain(error.message)}`;
          announce(entry.status.textContent, { urgent: true });
          this._offer(entry, true);
          await waiting;
          entry.status.textContent = "sending…";
        }
      }
    }
    entry.item.remove();
  }

  _offer(entry, retry = false) {
    entry.actions.replaceChildren(
      ...(retry ? [button("Try again", () => this._wake())] : []),
      button("Discard", () => {
        entry.discarded = true;
        this._wake();
      }),
    );
  }
}
