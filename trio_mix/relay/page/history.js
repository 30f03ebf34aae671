// What the server has stored of a session: the messages before those that the relay knows.

import * as api from "./api.js";
import { announce, button, el } from "./dom.js";
import { saveText } from "./text.js";
import { Ledger, TurnView } from "./turn.js";
import { plain } from "./visible.js";

/** How many stored messages are shown. */
const SHOWN = 200;

export class History {
  /**
   * @param {string} session
   * @param {Map<string, TurnView>} turns what is shown already, by its id.
   * @param {Element} list where that is shown.
   */
  constructor(session, turns, list) {
    this._session = session;
    this._turns = turns;
    this._list = list;
    this._load = button("Load the messages before", () => this.load(), { class: "quiet", hidden: true });
    /** The button that loads the messages, where there are any. */
    this.offer = el("div", { class: "earlier" }, this._load);
    this.element = el("div", { class: "stored" });
  }

  /** Offer the messages: some are not shown. */
  show() {
    this._load.hidden = false;
  }

  /** Offer the messages if there are more than are shown; load them if none is. */
  async look() {
    try {
      const row = await api.session(this._session);
      if (!((Number(row.userMessageCount) || 0) > this._asked())) return;
      this.show();
      if (!this._turns.size) await this.load();
    } catch {
      // The server has no such operation: there is nothing to offer.
    }
  }

  /** The number of stored messages that are shown. */
  _asked() {
    const turns = [...this._turns.values()];
    return turns.filter((turn) => turn.asked && turn.state !== "accepted").length;
  }

  async load() {
    this._load.disabled = true;
    try {
      const rows = await api.messages(this._session);
      this._show(rows.slice(0, this._firstShown(rows)));
      this._load.hidden = true;
    } catch (error) {
      announce(`The messages cannot be loaded: ${plain(error.message)}`);
      this._load.textContent = `Not loaded (${plain(error.message)}): try again`;
    } finally {
      this._load.disabled = false;
    }
  }

  /** Return the index of the first row that is shown: by its id, else counted from the end. */
  _firstShown(rows) {
    const shown = new Set();
    for (const turn of this._turns.values()) {
      if (!turn.empty) for (const each of turn.messageIds) shown.add(each);
    }
    const first = rows.findIndex((row) => shown.has(row.id));
    if (first > 0 && rows[first].role !== "user" && rows[first - 1].role === "user") return first - 1;
    if (first >= 0) return first;
    const asked = this._asked();
    if (!asked) return rows.length;
    const users = rows.flatMap((row, index) => (row.role === "user" ? [index] : []));
    return users[Math.max(0, users.length - asked)] ?? rows.length;
  }

  _show(rows) {
    const kept = rows.slice(-SHOWN);
    const ledger = new Ledger(() => {});
    const views = kept.map((row) => {
      const turn = new TurnView(String(row.id), { ledger, onCancel() {}, onSave: (each) => this.save(each) });
      turn.messageIds.add(row.id);
      if (row.role === "user") turn.ask(String(row.userInput ?? ""));
      if (row.reasoning) turn.handle("thinking", { content: row.reasoning });
      for (const call of row.toolCalls ?? []) {
        turn.handle("tool", { id: call.id, name: call.name, input: call.input, status: "completed" });
      }
      if (row.assistantResponse) turn.handle("content", { content: row.assistantResponse });
      turn.enter("done");
      return turn.element;
    });
    if (rows.length > kept.length) {
      views.unshift(
        el(
          "div",
          { class: "note" },
          `${rows.length - kept.length} older messages are not shown. `,
          button("Save all messages", () => saveText(JSON.stringify(rows, null, 2), "messages.json")),
        ),
      );
    }
    this.element.replaceChildren(...views);
  }

  /** Save the whole text of a turn, as it is stored. */
  async save(turn) {
    try {
      const rows = await api.messages(this._session);
      const texts = rows
        .filter((row) => turn.messageIds.has(row.id))
        .map((row) => (row.role === "user" && !row.assistantResponse ? row.userInput : row.assistantResponse ?? ""));
      if (!texts.length) throw new Error("it is not stored yet");
      saveText(texts.join("\n"), "answer.txt");
    } catch (error) {
      turn.note(`The text cannot be saved: ${plain(error.message)}`);
    }
  }
}
