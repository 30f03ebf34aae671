// Shows the questions of a session, and sends the answers.

import * as api from "./api.js";
import { announce, counted, el, uniqueId } from "./dom.js";
import { Guard } from "./guard.js";
import { appendText, plain } from "./visible.js";

/** Characters of a request beyond which nobody can be expected to read it. */
const LONGEST = 100_000;
/** How many questions are shown at once; the others follow. */
const SHOWN = 10;
const MOST_WAITING = 1000;
const REQUEST = new Set(["id", "sessionId", "toolName", "description", "action", "path", "params"]);
const QUIET = new Set(["type", "turnId", "parentToolCallId"]);

/** A text in full, with all hidden characters as marks. */
function whole(tag, text, attributes = {}) {
  const element = el(tag, attributes);
  appendText(element, String(text), { strict: true });
  return element;
}

/** A value in full; a long one can be scrolled. */
function value(name, given) {
  const text = typeof given === "string" ? given : JSON.stringify(given, null, 2);
  const box = el("pre", { class: "value", dir: "ltr", tabindex: "0", role: "group" });
  appendText(box, text, { strict: true });
  const lines = text.split("\n").length;
  const size = lines > 1 ? `, ${counted(lines, "line")}` : "";
  box.setAttribute("aria-label", `${name}, ${counted(text.length, "character")}${size}`);
  const long = text.length > 400 || lines > 8 || String(name).length > 40;
  const note = text.length > 400 || lines > 8 ? `${counted(text.length, "character")}${size}: scroll to read all` : "";
  return el(
    "div",
    { class: long ? "row long" : "row" },
    el("dt", {}, whole("span", name), note && el("span", { class: "size" }, ` (${note})`)),
    el("dd", {}, box),
  );
}

function outcome({ granted, by }, tool, otherwise = "") {
  const who = by ? plain(by, 80) : otherwise;
  return `${granted ? "Allowed" : "Denied"}${who && ` by ${who}`}: ${plain(tool, 80)}`;
}

class Prompt {
  constructor(dock, id, turn, data) {
    this.id = id;
    this.turn = turn;
    this.dock = dock;
    this.data = data;
    this.answered = false;
    this.status = el("p", { class: "outcome", role: "status" });
    this.buttons = el("div", { class: "answers" });
    this.label = uniqueId("question");
    this.element = el("section", { class: "prompt", role: "group", "aria-labelledby": this.label });
  }

  /** Send an answer; report why it was not accepted. */
  async answer(call, done) {
    if (this.answered) return;
    this.answered = true;
    this.status.textContent = "sending the answer…";
    try {
      await call();
      done();
    } catch (error) {
      this.status.textContent = `not accepted: ${plain(error.message)}`;
      if (error.status === 404) this.dock.close(this, `No longer open: ${plain(error.message)}`);
      else this.answered = false;
    }
  }
}

class Permission extends Prompt {
  constructor(dock, id, turn, data) {
    super(dock, id, turn, data);
    const tool = plain(data.toolName || "a tool", 80);
    this.title = `Permission for ${tool}`;
    const extra = Object.keys(data).filter((name) => !REQUEST.has(name) && !QUIET.has(name));
    const params = data.params ?? {};
    const fields = typeof params === "object" && !Array.isArray(params) ? Object.entries(params) : [["params", params]];
    const given = [
      ["Action", data.action],
      ["Path", data.path],
      ["Description", data.description],
      ...extra.map((name) => [name, data[name]]),
    ].filter(([, each]) => each !== undefined && each !== null && each !== "");
    const shown = [...given, ...fields];
    const size = JSON.stringify(shown).length;
    const rows = size > LONGEST ? [] : shown.map((each) => value(...each));
    const buttons = [dock.guard.button("Deny", () => this.decide(false), { class: "deny" })];
    if (size > LONGEST) {
      this.status.textContent =
        `The request has ${size.toLocaleString("en")} characters, more than anybody can read: it can only be denied.`;
    } else {
      buttons.unshift(dock.guard.button("Allow", () => this.decide(true), { class: "allow" }));
    }
    this.buttons.append(...buttons);
    this.element.append(
      el("h3", { id: this.label }, "Allow ", whole("code", data.toolName || "a tool"), "?"),
      data.parentToolCallId ? el("p", { class: "note" }, "A sub-agent asks.") : "",
      el("dl", {}, ...rows),
      this.status,
      this.buttons,
    );
  }

  decide(grant) {
    this.choice = grant;
    this.answer(() => api.decide(this.id, grant), () => this.mine());
  }

  mine() {
    this.dock.close(this, `You ${this.choice ? "allowed" : "denied"} ${plain(this.data.toolName, 80)}`);
  }

  settled(data) {
    if (this.answered && this.choice === data.granted) this.mine();
    else this.dock.close(this, outcome(data, this.data.toolName, "another client"));
  }
}

class Notification extends Prompt {
  constructor(dock, id, turn, data) {
    super(dock, id, turn, data);
    this.title = `Message from the agent: ${plain(data.title || data.message, 80)}`;
    const message = whole("div", data.message ?? "", { class: "message", dir: "auto" });
    const choices = Array.isArray(data.choices) ? data.choices : [];
    if (data.responseType === "choice" && choices.length) {
      for (const choice of choices.map(String)) {
        this.buttons.append(dock.guard.button(whole("span", choice), () => this.respond("choice", choice)));
      }
    } else if (data.responseType === "text" || data.responseType === "choice") {
      const field = el("input", { type: "text", "aria-label": "Your answer", autocomplete: "off" });
      field.addEventListener("keydown", (event) => {
        if (event.key === "Enter" && !event.isComposing) this.respond("text", field.value);
      });
      this.buttons.append(field, dock.guard.button("Answer", () => this.respond("text", field.value)));
    } else {
      this.buttons.append(dock.guard.button("OK", () => this.respond("acknowledge")));
    }
    this.element.classList.add("notification", `kind-${/^[a-z]+$/.test(data.notificationType) ? data.notificationType : "info"}`);
    this.element.append(
      whole("h3", data.title || "Message", { id: this.label }),
      data.parentToolCallId ? el("p", { class: "note" }, "A sub-agent asks.") : "",
      message,
      this.status,
      this.buttons,
    );
  }

  respond(type, answer) {
    if (type === "text" && !answer.trim()) return;
    this.answer(
      () => api.respond(this.id, type, answer),
      () => this.dock.close(this, answer === undefined ? "Acknowledged" : `Answered: ${plain(answer)}`),
    );
  }
}

/** The open questions of one session, in a place of their own. */
export class Dock {
  /**
   * @param {object} options
   * @param {(turn: string, content: string | Element) => void} options.onClosed records an outcome, or
   *   a message, in the turn.
   * @param {() => void} options.onChange
   */
  constructor({ name, onClosed, onChange }) {
    this.guard = new Guard();
    this.element = el("div", { class: "dock", role: "region", "aria-label": "Questions of the agent" });
    this._open = new Map();
    this._waiting = new Map();
    this._name = name;
    this._onClosed = onClosed;
    this._onChange = onChange;
    this._observer = new ResizeObserver(() => this.guard.restart());
    this._observer.observe(this.element);
  }

  get count() {
    return this._open.size + this._waiting.size;
  }

  permission(turn, data) {
    this._ask(`permission ${data.id}`, turn, data, Permission);
  }

  /** Ask what a notification asks for; its text stays in the turn. */
  notification(turn, data) {
    const key = `notification ${data.id}`;
    if (this._open.has(key) || this._waiting.has(key)) return;
    const text = [data.title, data.message].filter((each) => typeof each === "string" && each).join(": ");
    this._onClosed(turn, whole("span", text, { class: "message", dir: "auto" }));
    this._ask(key, turn, data, Notification);
  }

  _ask(key, turn, data, Kind) {
    if (typeof data.id !== "string" || this._open.has(key) || this._waiting.has(key)) return;
    if (this._waiting.size >= MOST_WAITING) return;
    this._waiting.set(key, { turn, data, Kind });
  }

  /** Show the questions that are still open: those of a replay may be answered already. */
  show() {
    for (const [key, { turn, data, Kind }] of this._waiting) {
      if (this._open.size >= SHOWN) return;
      this._waiting.delete(key);
      const prompt = new Kind(this, data.id, turn, data);
      prompt.key = key;
      this._open.set(key, prompt);
      this.element.append(prompt.element);
      announce(`${prompt.title}, in ${this._name()}`, { urgent: true });
      this.guard.restart();
      this._onChange();
    }
  }

  /** Have the questions wait again when one of these elements, which can move them, changes its size. */
  watch(...elements) {
    for (const each of elements) this._observer.observe(each);
  }

  settled(data) {
    const key = `permission ${data.permissionId}`;
    const waiting = this._waiting.get(key);
    if (waiting) {
      this._waiting.delete(key);
      this._onClosed(waiting.turn, outcome(data, waiting.data.toolName));
    }
    this._open.get(key)?.settled(data);
  }

  /** Close the questions of a turn that is over. */
  turnOver(turn) {
    for (const [key, waiting] of this._waiting) if (waiting.turn === turn) this._waiting.delete(key);
    for (const prompt of [...this._open.values()]) {
      // An answer that is on its way closes its question itself.
      if (prompt.turn === turn && !prompt.answered) this.close(prompt, `No longer open: ${prompt.title}`);
    }
  }

  close(prompt, text) {
    if (this._open.get(prompt.key) !== prompt) return;
    const focused = prompt.element.contains(document.activeElement);
    this._open.delete(prompt.key);
    prompt.element.remove();
    this.guard.restart();
    this._onClosed(prompt.turn, text);
    announce(text);
    this._onChange(focused);
    this.show();
  }

  end() {
    this.guard.close();
    this._observer.disconnect();
  }
}
