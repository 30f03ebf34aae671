// The list of sessions, with what each of them is doing.

import * as api from "./api.js";
import { announce, button, counted, el, uniqueId } from "./dom.js";
import { notify, wantsNotifications } from "./notify.js";
import { plain } from "./visible.js";

const SHOWN = 200;
const POLL = 4000;
const RELOAD = 30_000;

export class SessionList {
  /**
   * @param {object} options
   * @param {(session: string, options: {beside: boolean}) => void} options.onOpen
   * @param {(session: string) => void} options.onDeleted
   * @param {() => void} options.onChange titles or states have changed.
   */
  constructor({ onOpen, onDeleted, onChange }) {
    this.rows = [];
    this._onOpen = onOpen;
    this._onDeleted = onDeleted;
    this._onChange = onChange;
    this._activity = new Map();
    this._local = new Map();
    this._known = new Set();
    this._shown = SHOWN;
    this._items = new Map();
    this._loadedAt = 0;
    const heading = uniqueId("sessions");
    this._filter = el("input", { type: "search", "aria-label": "Filter the sessions", placeholder: "Filter" });
    this._filter.addEventListener("input", () => this.show());
    this._status = el("p", { class: "note", role: "status" });
    this._list = el("ul", { "aria-labelledby": heading });
    this._more = button("Show more", () => {
      this._shown += SHOWN;
      this.show();
    }, { class: "quiet", hidden: true });
    this.element = el(
      "nav",
      { class: "sessions", "aria-labelledby": heading },
      el("div", { class: "bar" }, el("h2", { id: heading }, "Sessions"), el("span", { class: "space" }), button("New session", () => this._create(), { class: "new" })),
      this._filter,
      this._status,
      this._list,
      this._more,
    );
  }

  focus() {
    (this._list.querySelector("[aria-current]") ?? this._filter).focus();
  }

  start() {
    this.load();
    const poll = async () => {
      if (!document.hidden || wantsNotifications()) await this._poll();
      setTimeout(poll, POLL);
    };
    poll();
  }

  title(session) {
    const row = this.rows.find((each) => each.id === session);
    return row?.title || row?.firstUserMessage || session;
  }

  async load() {
    this._loadedAt = performance.now();
    try {
      const rows = await api.sessions();
      rows.sort((one, other) => String(other.createdAt ?? "").localeCompare(String(one.createdAt ?? "")));
      this.rows = rows;
      this._status.textContent = rows.length ? "" : "There are no sessions yet.";
    } catch (error) {
      this._status.textContent = `The sessions cannot be listed: ${plain(error.message)}`;
      this._loadedAt = -Infinity; // with the next poll
    }
    this.show();
    this._onChange();
  }

  async _poll() {
    if (performance.now() - this._loadedAt > RELOAD) await this.load();
    let rows;
    try {
      rows = await api.activity();
    } catch {
      return;
    }
    const before = this._activity;
    this._activity = new Map(rows.map((row) => [row.sessionId, row]));
    for (const row of rows) {
      if (row.requests && !before.get(row.sessionId)?.requests && !this._local.has(row.sessionId)) {
        announce(`${plain(this.title(row.sessionId), 60)} needs an answer`, { urgent: true });
      }
    }
    this._mark();
  }

  /** Set what open sessions know themselves: a state for each id. */
  setLocal(states) {
    this._local = states;
    this._mark();
  }

  /** The sessions that wait for an answer. */
  _asking() {
    const all = new Set([...this._activity.keys(), ...this._local.keys()]);
    return new Set([...all].filter((session) => this._stateOf(session) === "asks"));
  }

  _stateOf(session) {
    const local = this._local.get(session);
    if (local !== undefined && local !== "opening" && local !== "closed") return local;
    const row = this._activity.get(session);
    if (!row) return "idle";
    if (row.requests) return "asks";
    return row.turn ? "working" : "idle";
  }

  _mark() {
    const labels = { asks: "needs an answer", working: "working", idle: "" };
    for (const [session, { item, badge, open }] of this._items) {
      const state = this._stateOf(session);
      badge.textContent = labels[state];
      badge.className = `badge ${state}`;
      item.classList.toggle("open", this._local.has(session));
      if (this._local.has(session)) open.setAttribute("aria-current", "true");
      else open.removeAttribute("aria-current");
    }
    const asking = this._asking();
    for (const session of asking) {
      if (this._known.has(session)) continue;
      notify(`${plain(this.title(session), 60)} needs an answer`, session, () => this._onOpen(session, { beside: false }));
    }
    this._known = asking;
    document.title = asking.size ? `(${asking.size}) Mix` : "Mix";
  }

  show() {
    const wanted = this._filter.value.trim().toLowerCase();
    const found = this.rows.filter((row) => `${row.title ?? ""} ${row.id}`.toLowerCase().includes(wanted));
    const kept = found.slice(0, this._shown);
    const focused = this._list.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    this._items.clear();
    this._list.replaceChildren(...kept.map((row) => this._item(row)));
    if (focused) this._list.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
    this._more.hidden = found.length <= kept.length;
    this._mark();
  }

  _item(row) {
    const title = plain(row.title || row.firstUserMessage || row.id, 80);
    const badge = el("span", { class: "badge" });
    const count = Number(row.userMessageCount) || 0;
    const open = button("", (event) => this._onOpen(row.id, { beside: event.ctrlKey || event.metaKey }), {
      class: "open",
      "data-key": `open ${row.id}`,
    });
    open.append(
      el("span", { class: "title" }, title),
      badge,
      el("span", { class: "size" }, count ? counted(count, "message") : "no messages"),
    );
    const item = el(
      "li",
      {},
      open,
      button("⊞", () => this._onOpen(row.id, { beside: true }), {
        class: "quiet beside", title: "Open beside the others", "aria-label": `Open ${title} beside the others`, "data-key": `beside ${row.id}`,
      }),
      button("×", () => this._delete(row.id, title), {
        class: "quiet", title: "Delete", "aria-label": `Delete ${title}`, "data-key": `delete ${row.id}`,
      }),
    );
    this._items.set(row.id, { item, badge, open });
    return item;
  }

  async _create() {
    try {
      const title = `Session of ${new Date().toLocaleString()}`;
      const created = await api.createSession(title);
      await this.load();
      this._onOpen(created.id, { beside: false });
    } catch (error) {
      this._status.textContent = `No session was created: ${plain(error.message)}`;
    }
  }

  async _delete(session, title) {
    if (!confirm(`Delete “${title}” with all its messages and files?`)) return;
    try {
      await api.deleteSession(session);
      this._onDeleted(session);
      await this.load();
    } catch (error) {
      this._status.textContent = `Not deleted: ${plain(error.message)}`;
    }
  }
}
