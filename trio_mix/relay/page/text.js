// Text that grows: shown in pieces, and bounded, so that no answer can stop the page.

import { el, button, schedule } from "./dom.js";
import { appendText } from "./visible.js";

/** How many characters of one text are in the document. */
export const SHOWN = 256 * 1024;
/** Where a text is divided into elements, so that a new piece lays out only the last one. */
const CHUNK = 4 * 1024;
const LONGEST_CHUNK = 32 * 1024;
/** How many characters are added to the document at once, as far as the browser keeps up. */
const LEAST = 8 * 1024;
const MOST = 128 * 1024;
/** Milliseconds between two paints above which less is added. */
const SLOW = 40;

const growing = new Set();
let budget = MOST / 2;
let flushedAt = 0;

function flushAll() {
  const now = performance.now();
  if (flushedAt) budget = now - flushedAt > SLOW ? Math.max(LEAST, budget / 2) : Math.min(MOST, budget * 2);
  let left = budget;
  for (const text of growing) {
    left -= text.flush(left);
    if (!text.pending) growing.delete(text);
    if (left <= 0) break;
  }
  flushedAt = growing.size ? now : 0;
  if (growing.size) schedule("text", flushAll);
}

/**
 * One text.
 *
 * @param {object} options
 * @param {() => void} [options.onSave] saves the whole text; offered when a part is not shown.
 * @param {(change: number) => void} [options.onSize] is called when the size in the document changes.
 */
export class GrowingText {
  constructor({ className = "text", onSave = null, onSize = () => {} } = {}) {
    this.element = el("div", { class: className, dir: "auto" });
    this.length = 0;
    this.cut = 0;
    this.pending = "";
    this._pieces = el("div", { class: "pieces" });
    this._note = null;
    this._onSave = onSave;
    this._onSize = onSize;
    this._chunks = [];
    this._last = null;
    this._size = 0;
    this._dead = false;
    this.element.append(this._pieces);
  }

  /** The characters that are in the document. */
  get size() {
    return this._size;
  }

  append(text) {
    if (!text || this._dead) return;
    this.length += text.length;
    this.pending += text;
    if (this.pending.length > 2 * SHOWN) this._skip();
    growing.add(this);
    schedule("text", flushAll);
  }

  /** Forget the text, for good. */
  end() {
    this._dead = true;
    growing.delete(this);
    this.pending = "";
    this._resized(-this._size);
  }

  /** Leave out what would be cut in the same moment. */
  _skip() {
    const dropped = this.pending.length - SHOWN;
    this.pending = this.pending.slice(dropped);
    this._drop(this._chunks.length);
    this.cut += dropped;
    this._showCut();
  }

  flush(limit) {
    let taken = this.pending.slice(0, limit);
    // A pair of surrogates, or a line end of two characters, stays together.
    if (taken.length < this.pending.length && /[\ud800-\udbff\r]$/.test(taken)) {
      taken = this.pending.slice(0, limit + 1);
    }
    this.pending = this.pending.slice(taken.length);
    let rest = taken;
    while (rest) rest = this._add(rest);
    let drop = 0;
    let size = this._size;
    while (size > SHOWN && drop < this._chunks.length - 1) {
      size -= this._chunks[drop].size;
      drop += 1;
    }
    if (drop) {
      this._drop(drop);
      this._showCut();
    }
    return taken.length;
  }

  /** Add the beginning of a text to the last element; return the rest. */
  _add(text) {
    if (!this._last || this._last.size >= LONGEST_CHUNK || this._last.full) {
      this._last = { element: el("div"), size: 0, full: false };
      this._chunks.push(this._last);
      this._pieces.append(this._last.element);
    }
    const chunk = this._last;
    let end = Math.min(text.length, LONGEST_CHUNK - chunk.size);
    const line = text.indexOf("\n", Math.max(0, CHUNK - chunk.size));
    if (line >= 0 && line < end) {
      end = line + 1;
      chunk.full = true;
    } else if (end < text.length && /[\ud800-\udbff]/.test(text[end - 1])) {
      end += 1;
    }
    const piece = text.slice(0, end);
    appendText(chunk.element, piece);
    chunk.size += piece.length;
    this._resized(piece.length);
    return text.slice(end);
  }

  _drop(count) {
    const dropped = this._chunks.splice(0, count);
    let size = 0;
    for (const chunk of dropped) {
      chunk.element.remove();
      size += chunk.size;
    }
    if (dropped.includes(this._last)) this._last = null;
    this.cut += size;
    this._resized(-size);
  }

  _resized(change) {
    this._size += change;
    this._onSize(change);
  }

  _showCut() {
    if (!this._note) {
      this._count = el("span");
      this._note = el("div", { class: "cut" }, this._count);
      if (this._onSave) this._note.append(" ", button("Save the whole text", this._onSave));
      this.element.prepend(this._note);
    }
    this._count.textContent =
      `The first ${this.cut.toLocaleString("en")} characters are not shown here.`;
  }
}

/** Save a text as a file. */
export function saveText(text, name) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
