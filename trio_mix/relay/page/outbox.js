// The messages that the relay has not accepted yet: each is sent until it is answered.

import * as api from "./api.js";
import { announce, button, el, randomKey } from "./dom.js";
import { appendText, plain } from "./visible.js";

const LONGEST_PAUSE = 8000;

let unsent = 0;

window.addEventListener("beforeunload", (event) => {
  if (unsent) event.preventDefault(); // the browser asks
});

/** Wait for a time in milliseconds, or until the connection is there again. */
function connectedOr(time) {
  return new Promise((resolve) => {
    const done = () => {
      document.removeEventListener("connected", done);
      resolve();
    };
    document.addEventListener("connected", done);
    setTimeout(done, time);
  });
}

/** The messages of one session. They are also sent when the session is not shown any more. */
export class Outbox {
  constructor(session) {
    this._session = session;
    this._wake = () => {};
    this.element = el("ol", { class: "outbox", "aria-label": "Messages that are being sent" });
    this._last = Promise.resolve();
  }

  /** Send a message, after those before it. */
  send(text) {
    const entry = { key: randomKey(), text, status: el("span", { role: "status" }, "sending…"), discarded: false };
    const shown = el("span", { class: "message", dir: "auto" });
    appendText(shown, text.length > 300 ? `${text.slice(0, 300)}…` : text);
    entry.actions = el("span");
    entry.item = el("li", {}, shown, " ", entry.status, " ", entry.actions);
    this.element.append(entry.item);
    unsent += 1;
    this._last = this._last.then(() => this._deliver(entry)).finally(() => {
      unsent -= 1;
      entry.item.remove();
    });
  }

  async _deliver(entry) {
    let pause = 500;
    while (!entry.discarded) {
      try {
        await api.send(this._session, entry.key, entry.text);
        return;
      } catch (error) {
        const chosen = new Promise((resolve) => {
          this._wake = resolve;
        });
        if (error.passing) {
          entry.status.textContent = `not sent yet (${plain(error.message)}); trying again…`;
          this._offer(entry);
          const time = Math.min(Math.max(pause, error.retryAfter * 1000), LONGEST_PAUSE);
          pause *= 2;
          await Promise.race([chosen, connectedOr(time)]);
        } else {
          entry.status.textContent = `not sent: ${plain(error.message)}`;
          announce(entry.status.textContent, { urgent: true });
          if (!this.element.isConnected) return;
          this._offer(entry, true);
          await chosen;
          entry.key = randomKey(); // what was refused did not run: this is another message
          entry.status.textContent = "sending…";
          entry.actions.replaceChildren();
        }
      }
    }
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
