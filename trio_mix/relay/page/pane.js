// One session: its conversation, its questions, and the box to send.

import * as api from "./api.js";
import { announce, button, el, schedule, uniqueId } from "./dom.js";
import { Files } from "./files.js";
import { History } from "./history.js";
import { Dock } from "./prompts.js";
import { Outbox } from "./outbox.js";
import { Ledger, TurnView } from "./turn.js";
import { plain } from "./visible.js";

/** Pixels from the end within which the conversation follows new text. */
const NEAR = 80;
/** How many events are shown before the browser may paint and react. */
const AT_ONCE = 2000;
/** Milliseconds after a (re)connect for which events are not announced. */
const REPLAY = 1000;
/** Milliseconds after which a session without events has none in the relay. */
const FIRST_EVENTS = 300;

export class Pane {
  /**
   * @param {string} session
   * @param {object} options
   * @param {Transport} options.transport
   * @param {() => string} options.title
   * @param {(pane: Pane) => void} options.onClose
   * @param {() => void} options.onChange the state or the number of questions has changed.
   */
  constructor(session, { transport, title, onClose, onChange }) {
    this.session = session;
    this.state = "opening";
    this._title = title;
    this._onChange = onChange;
    this._turns = new Map();
    this._queue = [];
    this._working = false;
    this._resetAt = Infinity;
    this._files = new Files(session);
    this._dock = new Dock({
      name: () => plain(title(), 60),
      onClosed: (turn, text) => this._turns.get(turn)?.note(text),
      onChange: (focused) => {
        if (focused) this.focus();
        this._changed();
      },
    });
    this._outbox = new Outbox(session);
    this._list = el("div", { class: "turns" });
    this._history = new History(session, this._turns, this._list);
    this._ledger = new Ledger(() => this._history.show());
    this._build(onClose);
    this._unsubscribe = transport.subscribe(session, {
      reset: (gap) => this._reset(gap),
      events: (events) => this._received(events),
      closed: (reason) => this._ended(reason),
    });
  }

  _build(onClose) {
    const heading = uniqueId("session");
    this._heading = el("h2", { id: heading, tabindex: "-1" });
    this._state = el("span", { class: "badge" });
    this._stop = button("Stop", () => this._cancelRunning(), { class: "stop", hidden: true });
    this._filesButton = button("Files", () => {
      this._filesButton.setAttribute("aria-expanded", String(this._files.toggle()));
    }, { "aria-expanded": "false" });
    const header = el(
      "header",
      {},
      button("Sessions", () => document.dispatchEvent(new CustomEvent("show-list")), { class: "back" }),
      this._heading,
      this._state,
      el("span", { class: "space" }),
      this._stop,
      this._filesButton,
      button("×", () => onClose(this), { class: "quiet", "aria-label": "Close this session" }),
    );
    this._log = el(
      "div",
      { class: "log", role: "log", "aria-live": "off", "aria-label": "Conversation", tabindex: "0" },
      this._history.offer,
      this._history.element,
      this._list,
    );
    this._latest = button("↓ Newest", () => this._follow(true), { class: "latest", hidden: true });
    this._log.addEventListener("scroll", () => {
      this._following = this._atEnd();
      this._latest.hidden = this._following;
    });
    this._following = true;
    new ResizeObserver(() => this._follow()).observe(this._list);
    this._text = el("textarea", {
      rows: "1",
      "aria-label": "Message",
      placeholder: "Message",
      title: "Enter sends, Shift+Enter begins a new line",
    });
    this._text.addEventListener("input", () => this._fit());
    this._text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this._send();
      }
    });
    const form = el("form", { class: "composer" }, this._text, el("button", { class: "send" }, "Send"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this._send();
    });
    this.element = el(
      "section",
      { class: "pane", "aria-labelledby": heading },
      header,
      this._files.element,
      el("div", { class: "middle" }, this._log, this._latest),
      this._dock.element,
      this._outbox.element,
      form,
    );
    this._dock.watch(this._outbox.element, form);
    this.element.addEventListener("dragover", (event) => event.preventDefault());
    this.element.addEventListener("drop", (event) => {
      event.preventDefault();
      if (event.dataTransfer.files.length) this._files.upload([...event.dataTransfer.files]);
    });
    this.renamed();
    this._changed();
  }

  renamed() {
    const title = plain(this._title(), 120);
    if (this._heading.textContent !== title) this._heading.textContent = title;
  }

  focus() {
    this._text.focus();
  }

  get questions() {
    return this._dock.count;
  }

  close() {
    this._unsubscribe();
    this._dock.end();
    this.element.remove();
  }

  // -- what comes ------------------------------------------------------------------------------

  _reset(gap) {
    const first = this._resetAt === Infinity;
    if (gap && !first) {
      const missed = typeof gap.missed === "number" ? gap.missed.toLocaleString("en") : "Some";
      this._list.append(el("div", { class: "note" }, `${missed} events are missing here.`));
    }
    if (this.state === "opening" || this.state === "closed") this.state = "idle";
    this._resetAt = performance.now();
    this._changed();
    if (first) setTimeout(() => this._history.look(), FIRST_EVENTS);
  }

  _received(events) {
    this._queue.push(...events);
    this._work();
  }

  _work() {
    if (this._working) return;
    this._working = true;
    const events = this._queue.splice(0, AT_ONCE);
    for (const { event, data } of events) {
      try {
        this._handle(event, data);
      } catch (error) {
        console.error("an event cannot be shown", error); // the next ones can
      }
    }
    if (this._queue.length) {
      setTimeout(() => {
        this._working = false;
        this._work();
      });
      return;
    }
    this._working = false;
    schedule(`${this.session} questions`, () => this._dock.show());
    this._changed();
  }

  _handle(event, text) {
    let data;
    try {
      data = JSON.parse(text);
    } catch {
      return;
    }
    if (typeof data !== "object" || data === null) return;
    switch (event) {
      case "connected":
      case "heartbeat":
      case "presence":
      case "session_created":
      case "session_deleted":
        return;
      case "permission_settled":
        this._dock.settled(data);
        return;
      default:
    }
    const turn = this._turn(data.turnId);
    switch (event) {
      case "turn":
        if (data.text !== undefined) turn.ask(data.text, data.by);
        turn.enter(data.state);
        if (turn.over) this._over(turn);
        break;
      case "permission":
        this._dock.permission(turn.id, data);
        break;
      case "notification":
        this._dock.notification(turn.id, data);
        break;
      default:
        if (turn.handle(event, data)) {
          if (event === "complete") turn.enter("done");
          else turn.enter("failed");
          this._over(turn);
        }
    }
  }

  _turn(id) {
    const key = typeof id === "string" ? id : this._newest?.id ?? "";
    let turn = this._turns.get(key);
    if (!turn) {
      turn = new TurnView(key, {
        ledger: this._ledger,
        onCancel: (each) => this._cancel(each),
        onSave: (each) => this._history.save(each),
      });
      this._turns.set(key, turn);
      this._list.append(turn.element);
      this._newest = turn;
      if (this._turns.size > 1000) this._turns.delete(this._turns.keys().next().value);
    }
    return turn;
  }

  _over(turn) {
    this._dock.turnOver(turn.id);
    this._files.refresh();
    if (turn === this._newest && this._live && !turn.announced) {
      turn.announced = true;
      schedule(`${turn.id} end`, () => announce(`${plain(this._title(), 60)}: ${turn.summary || "the turn is over"}`));
    }
  }

  /** Whether events are new, not those of a replay. */
  get _live() {
    return performance.now() - this._resetAt > REPLAY && !this._queue.length;
  }

  get running() {
    for (const turn of this._turns.values()) {
      if (!turn.over && turn.state !== "accepted") return turn;
    }
    return null;
  }

  _ended(reason) {
    this.state = "closed";
    this._list.append(el("div", { class: "note" }, `The session is closed: ${plain(reason)}`));
    this._changed();
  }

  _changed() {
    if (this.state !== "opening" && this.state !== "closed") {
      this.state = this._dock.count ? "asks" : this.running ? "working" : "idle";
    }
    const labels = { opening: "opening…", closed: "closed", asks: "needs an answer", working: "working", idle: "" };
    this._state.textContent = labels[this.state];
    this._state.className = `badge ${this.state}`;
    const stoppable = Boolean(this.running);
    if (!stoppable && document.activeElement === this._stop) this.focus();
    this._stop.hidden = !stoppable;
    const now = `${this.state} ${this._dock.count}`;
    if (now !== this._reported) {
      this._reported = now;
      this._onChange();
    }
  }

  // -- scrolling -------------------------------------------------------------------------------

  _atEnd() {
    const log = this._log;
    return log.scrollHeight - log.scrollTop - log.clientHeight < NEAR;
  }

  _follow(force = false) {
    if (force) this._following = true;
    if (this._following) this._log.scrollTop = this._log.scrollHeight;
    this._latest.hidden = this._following;
  }

  _fit() {
    this._text.style.height = "auto";
    this._text.style.height = `${Math.min(this._text.scrollHeight + 2, window.innerHeight * 0.3)}px`;
  }

  // -- what is done ----------------------------------------------------------------------------

  _send() {
    const text = this._text.value;
    if (!text.trim()) return;
    if (text.trimStart().startsWith("!") && !confirm("This runs a shell command on the server. Send it?")) return;
    this._text.value = "";
    this._fit();
    this._follow(true);
    this._outbox.send(text);
  }

  async _cancel(turn) {
    try {
      await api.cancelTurn(turn.id).catch((error) => {
        // A message that was sent past the relay is not in its queue.
        if (error.status !== 404 || turn.state === "accepted") throw error;
        return api.cancelSession(this.session);
      });
    } catch (error) {
      turn.note(`Not stopped: ${plain(error.message)}`);
    }
  }

  _cancelRunning() {
    const turn = this.running;
    if (turn) this._cancel(turn);
  }
}
