// Shows one turn: the message, thinking, text and tools in order, and how it ended.

import { button, el } from "./dom.js";
import { GrowingText } from "./text.js";
import { plain } from "./visible.js";

const STATES = new Map([
  ["accepted", "queued"],
  ["posting", "being sent"],
  ["running", "working"],
  ["done", ""],
  ["unknown", "nobody knows whether this message ran"],
  ["cancelled", "stopped"],
  ["failed", ""],
]);

/** How many tool calls of a turn can still change. */
const MOST_TOOLS = 1000;

const OVER = new Set(["done", "unknown", "cancelled", "failed"]);

/** What one agent does: the blocks of the turn itself, or of a sub-agent. */
class Body {
  constructor(turn, element) {
    this.turn = turn;
    this.element = element;
    this.text = 0;
    this._open = null;
  }

  /** Add a block; text of the same kind goes on in it, until another block follows. */
  add(kind, element, text) {
    this._open = { kind, text };
    this.turn.place(this.element, element, text);
  }

  grow(kind, text) {
    if (!text) return;
    if (kind === "text") this.text += text.length;
    if (this._open?.kind !== kind) {
      text = text.trimStart();  // a block begins with its first word
      if (!text) return;
      const block = this.turn.text(kind === "thinking" ? "thought" : kind);
      let element = block.element;
      if (kind === "thinking") {
        element = el("details", { class: "thinking" }, el("summary", {}, "Thinking"), element);
      }
      this.add(kind, element, block);
    }
    this._open.text.append(text);
  }

  /** Add a line that is no text of the agent. */
  line(className, ...content) {
    this.add("line", el("div", { class: className }, ...content), null);
  }
}

class Tool {
  constructor(turn, body, id, name) {
    this.input = turn.text("input");
    this.received = 0;
    this._name = el("span", { class: "name" });
    this._state = el("span", { class: "state" });
    this.element = el(
      "details",
      { class: "tool" },
      el("summary", {}, el("span", { "aria-hidden": "true" }, "⚙ "), this._name, " ", this._state),
      this.input.element,
    );
    this.rename(name);
    this.state("is being called");
    body.add("tool", this.element, this.input);
    this.inner = null;
    this.id = id;
    this._turn = turn;
  }

  rename(name) {
    if (name) this._name.textContent = plain(name, 80);
  }

  state(text, className = "") {
    this._state.textContent = text;
    this._state.className = `state ${className}`;
  }

  delta(text) {
    this.received += text.length;
    this.input.append(text);
  }

  complete(input) {
    if (typeof input !== "string" || input.length <= this.received) return;
    this.input.append(input.slice(this.received));
    this.received = input.length;
  }

  /** The place of the sub-agent that this call has started. */
  body() {
    if (!this.inner) {
      const place = el("div", { class: "agent", role: "group", "aria-label": "Sub-agent" });
      this.element.append(place);
      this.inner = new Body(this._turn, place);
    }
    return this.inner;
  }
}

export class TurnView {
  /**
   * @param {string} id
   * @param {object} options
   * @param {Ledger} options.ledger bounds what is shown.
   * @param {(turn: TurnView) => void} options.onCancel
   * @param {(turn: TurnView) => void} options.onSave saves the whole text of the turn.
   */
  constructor(id, { ledger, onCancel, onSave }) {
    this.id = id;
    this.state = "running";
    this.asked = "";
    this.messageIds = new Set();
    this.newest = "";
    this._ledger = ledger;
    this._onSave = () => onSave(this);
    this._you = null;
    this._body = el("div", { class: "reply" });
    this._state = el("span");
    this._cancel = button("Cancel", () => onCancel(this), { class: "quiet", hidden: true });
    this._footer = el("div", { class: "state", hidden: true }, this._state, " ", this._cancel);
    this.element = el("article", { class: "turn", "aria-label": "Turn" }, this._body, this._footer);
    this._tools = new Map();
    this._main = new Body(this, this._body);
  }

  get over() {
    return OVER.has(this.state);
  }

  text(kind) {
    const block = new GrowingText({
      className: kind,
      onSave: this._onSave,
      onSize: (change) => this._ledger.resized(change),
    });
    return block;
  }

  place(parent, element, text) {
    parent.append(element);
    this._ledger.add(this, element, text);
  }

  /** Show the message. */
  ask(text, by = "") {
    if (this._you || typeof text !== "string") return;
    this.asked = text;
    const block = this.text("message");
    this._you = el(
      "div",
      { class: "you" },
      by ? el("div", { class: "by" }, plain(by, 80)) : el("span", { class: "hidden" }, "You: "),
      block.element,
    );
    this.element.prepend(this._you);
    this._ledger.add(this, this._you, block);
    block.append(text);
    this.element.setAttribute("aria-label", `Turn: ${plain(text, 60)}`);
  }

  enter(state) {
    if (this.over && !OVER.has(state)) return;
    this.state = state;
    const text = STATES.get(state) ?? plain(state, 40);
    this._state.textContent = text;
    this._footer.hidden = !text;
    this._footer.className = `state ${state}`;
    this._cancel.hidden = state !== "accepted";
    if (this.over) this._tools.clear();
  }

  _bodyOf(data) {
    const parent = data.parentToolCallId;
    if (typeof parent !== "string" || !parent) return this._main;
    return this._tool(parent, "sub-agent", this._main).body();
  }

  _tool(id, name, body) {
    let tool = this._tools.get(id);
    if (!tool) {
      tool = new Tool(this, body, id, name || "tool");
      this._tools.set(id, tool);
      if (this._tools.size > MOST_TOOLS) this._tools.delete(this._tools.keys().next().value);
    }
    return tool;
  }

  note(...content) {
    this._main.line("note", ...content);
  }

  /** Show an event of the turn; return whether it ended the turn. */
  handle(event, data) {
    const body = this._bodyOf(data);
    if (typeof data.assistantMessageId === "string") {
      this.messageIds.add(data.assistantMessageId);
      this.newest = data.assistantMessageId;
    }
    const call = data.toolCallId ?? data.id;
    switch (event) {
      case "user_message_created":
        if (body === this._main) {
          if (typeof data.messageId === "string") this.messageIds.add(data.messageId);
          this.ask(data.content);
        }
        break;
      case "thinking":
        body.grow("thinking", String(data.content ?? ""));
        break;
      case "content":
        body.grow("text", String(data.content ?? ""));
        break;
      case "tool": {
        const tool = this._tool(call, data.name, body);
        tool.rename(data.name);
        tool.complete(data.input);
        if (data.status === "completed") tool.state("was called");
        break;
      }
      case "tool_use_start":
        this._tool(call, data.name, body).rename(data.name);
        break;
      case "tool_use_parameter_delta":
      case "tool_parameter_delta":
        this._tool(call, "", body).delta(String(data.input ?? ""));
        break;
      case "tool_use_parameter_streaming_complete": {
        const tool = this._tool(call, data.name, body);
        tool.rename(data.name);
        tool.complete(data.input);
        tool.state("was called");
        break;
      }
      case "tool_execution_start":
        this._tool(call, data.toolName, body).state("is running");
        break;
      case "tool_execution_complete": {
        const failed = data.success === false;
        this._tool(call, data.toolName, body).state(failed ? "failed" : "done", failed ? "bad" : "");
        break;
      }
      case "summarize":
        body.line("note", plain(data.progress || "The server shortens the history"));
        break;
      case "rate_limit_error":
        body.line("note", `Rate limit: ${plain(data.error)}`);
        break;
      case "complete":
        if (typeof data.messageId === "string") this.messageIds.add(data.messageId);
        if (!body.text) {
          if (data.reasoning && !this._thought(body)) body.grow("thinking", String(data.reasoning));
          body.grow("text", String(data.content ?? ""));
        }
        return body === this._main && data.done !== false;
      case "error":
        body.line("error", "The turn failed: ", this._error(data.error));
        return body === this._main;
      case "gap":
        body.line("note", "Some events are missing here.");
        break;
      default:
        break;
    }
    return false;
  }

  _thought(body) {
    return body.element.querySelector(":scope > .thinking") !== null;
  }

  _error(text) {
    const block = this.text("message");
    block.append(typeof text === "string" ? text : JSON.stringify(text ?? "no reason was given"));
    return block.element;
  }

  /** The last text of the agent, for a screen reader. */
  get summary() {
    const texts = this._body.querySelectorAll(":scope > .text");
    return texts.length ? plain(texts[texts.length - 1].textContent.slice(0, 2000), 300) : "";
  }

  get empty() {
    return !this._body.childElementCount && !(this._you && this._you.isConnected);
  }
}

/** Bounds what a conversation keeps in the document: the oldest blocks go first. */
export class Ledger {
  constructor(onDrop, { characters = 2 * 1024 * 1024, blocks = 3000 } = {}) {
    this.size = 0;
    this.dropped = 0;
    this._onDrop = onDrop;
    this._characters = characters;
    this._most = blocks;
    this._blocks = [];
    this._first = 0;
  }

  add(turn, element, text) {
    this._blocks.push({ turn, element, text });
    this._trim();
  }

  resized(change) {
    this.size += change;
    if (change > 0) this._trim();
  }

  _trim() {
    while (
      (this.size > this._characters || this._blocks.length - this._first > this._most) &&
      this._blocks.length - this._first > 1
    ) {
      const { turn, element, text } = this._blocks[this._first];
      this._blocks[this._first] = null;
      this._first += 1;
      element.remove();
      text?.end();
      this.dropped += 1;
      if (turn.empty && turn.over) turn.element.remove();
      this._onDrop(this.dropped);
    }
    if (this._first > 1000) {
      this._blocks = this._blocks.slice(this._first);
      this._first = 0;
    }
  }
}

