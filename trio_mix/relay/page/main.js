// Starts the page: signs in, connects, and shows the list and the open sessions.

import * as api from "./api.js";
import { announce, button, el } from "./dom.js";
import { SessionList } from "./list.js";
import { notifyButton } from "./notify.js";
import { Pane } from "./pane.js";
import { Transport } from "./transport.js";
import { plain } from "./visible.js";

const MOST_PANES = 6;
const SIGNED_IN = "signed in";
const narrow = window.matchMedia("(max-width: 760px)");

class App {
  constructor() {
    this._panes = new Map();
    this._started = false;
    this._link = el("p", { class: "link", role: "status" });
    this._again = button("Reconnect now", () => this._transport.reconnect(), { hidden: true });
    // No script can see the cookie: what is kept is only that there is one.
    this._out = button("Sign out", () => this._signOut(), {
      class: "quiet", hidden: !localStorage.getItem(SIGNED_IN),
    });
    this._list = new SessionList({
      onOpen: (session, options) => this.open(session, options),
      onDeleted: (session) => this._close(this._panes.get(session)),
      onChange: () => this._renamed(),
    });
    this._place = el("main", { class: "panes" });
    this._hint = el("p", { class: "hint" }, "Open a session, or make a new one.");
    this._place.append(this._hint);
    this._transport = new Transport({
      onState: (state) => this._connection(state),
      onSession: () => this._list.load(),
    });
    document.getElementById("app").append(
      el("div", { class: "side" }, el("div", { class: "status" }, this._link, this._again, notifyButton(), this._out), this._list.element),
      this._place,
    );
    document.addEventListener("show-list", () => {
      this._view("list");
      this._list.focus();
    });
    for (const kind of ["dragover", "drop"]) {
      window.addEventListener(kind, (event) => event.preventDefault()); // no file replaces the page
    }
    this._view("list");
  }

  /** Note that there is a cookie now. */
  signedIn() {
    localStorage.setItem(SIGNED_IN, "1");
    this._out.hidden = false;
  }

  async _signOut() {
    try {
      await api.signOut();
      localStorage.removeItem(SIGNED_IN);
      location.replace(location.pathname);
    } catch (error) {
      announce(`Not signed out: ${plain(error.message)}`, { urgent: true });
    }
  }

  /** Connect and show what there is; after a new sign-in, again. */
  start() {
    if (this._started) {
      this._transport.reconnect();
      this._list.load();
      return;
    }
    this._started = true;
    this._transport.open();
    this._list.start();
    const open = new URLSearchParams(location.hash.slice(1)).getAll("session");
    for (const session of open.slice(0, MOST_PANES)) this.open(session, { beside: true });
  }

  /** Open a session: in place of the others, or beside them. */
  open(session, { beside }) {
    let pane = this._panes.get(session);
    if (!beside || narrow.matches) {
      for (const other of [...this._panes.values()]) if (other !== pane) this._drop(other);
    }
    if (!pane) {
      if (this._panes.size >= MOST_PANES) this._drop(this._panes.values().next().value);
      pane = new Pane(session, {
        transport: this._transport,
        title: () => this._list.title(session),
        onClose: (each) => this._close(each),
        onChange: () => this._changed(),
      });
      this._panes.set(session, pane);
      this._place.append(pane.element);
    }
    this._view("session");
    this._remember();
    this._changed();
    pane.focus();
  }

  _drop(pane) {
    if (!pane) return;
    this._panes.delete(pane.session);
    pane.close();
  }

  _close(pane) {
    this._drop(pane);
    if (!this._panes.size) this._view("list");
    this._remember();
    this._changed();
  }

  _view(name) {
    document.body.dataset.view = name;
  }

  _remember() {
    const query = new URLSearchParams([...this._panes.keys()].map((session) => ["session", session]));
    history.replaceState(null, "", this._panes.size ? `#${query}` : location.pathname);
    this._hint.hidden = this._panes.size > 0;
  }

  _renamed() {
    for (const pane of this._panes.values()) pane.renamed();
  }

  _changed() {
    if (!this._panes) return;
    this._list.setLocal(new Map([...this._panes.values()].map((pane) => [pane.session, pane.state])));
  }

  _connection({ connected, attempt = 0, seconds = 0, refused = "" }) {
    if (connected) {
      document.dispatchEvent(new CustomEvent("connected"));
      document.getElementById("sign-in").close(); // another tab has signed in
    }
    const text = connected
      ? "connected"
      : refused
        ? plain(refused)
        : `connection lost; reconnecting${seconds ? ` in ${seconds} s` : "…"}${attempt > 1 ? ` (attempt ${attempt})` : ""}`;
    if (document.body.dataset.link !== String(connected)) {
      document.body.dataset.link = String(connected);
      if (!connected || this._lost) announce(connected ? "connected again" : "connection lost");
      this._lost = !connected;
    }
    if (this._link.textContent !== text) this._link.textContent = text;
    this._again.hidden = connected || Boolean(refused);
  }
}

/** Take the token out of the address, so that it is neither shown nor remembered. */
function takeToken() {
  const given = new URLSearchParams(location.hash.slice(1));
  const token = given.get("token");
  if (token === null) return null;
  given.delete("token");
  const rest = given.toString();
  history.replaceState(null, "", rest ? `#${rest}` : location.pathname);
  return token;
}

function askToken(app, why) {
  const dialog = document.getElementById("sign-in");
  document.getElementById("sign-in-error").textContent = why;
  if (!dialog.open) dialog.showModal();
  document.getElementById("sign-in-form").onsubmit = async (event) => {
    event.preventDefault();
    const field = document.getElementById("token");
    try {
      await api.signIn(field.value.trim());
      field.value = "";
      dialog.close();
      app.signedIn();
      app.start();
    } catch (error) {
      document.getElementById("sign-in-error").textContent = plain(error.message);
    }
  };
}

async function begin() {
  const app = new App();
  api.whenUnauthorized(() => askToken(app, "The relay asks for a token."));
  const token = takeToken();
  if (token !== null) {
    try {
      await api.signIn(token);
      app.signedIn();
    } catch (error) {
      askToken(app, `The token in the address was not accepted: ${plain(error.message)}`);
      return;
    }
  }
  app.start();
}

window.addEventListener("hashchange", () => {
  if (location.hash.includes("token=")) location.reload();
});
begin();
