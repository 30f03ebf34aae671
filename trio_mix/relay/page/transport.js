// One WebSocket for the events of all sessions: it reconnects, and resumes each where it was.

const PROTOCOL = "mix.relay.v1";
const FIRST_PAUSE = 300;
const LONGEST_PAUSE = 10_000;
/** Milliseconds without a message after which the connection is dead: heartbeats come every 15 s. */
const SILENCE = 40_000;

export class Transport {
  /**
   * @param {object} options
   * @param {(state: {connected: boolean, seconds?: number, attempt?: number}) => void} options.onState
   * @param {() => void} options.onSession a session was created or deleted.
   */
  constructor({ onState, onSession }) {
    this._onState = onState;
    this._onSession = onSession;
    this._subscriptions = new Map();
    this._socket = null;
    this._attempt = 0;
    this._timer = 0;
    this._silence = 0;
    for (const change of ["online", "offline"]) {
      window.addEventListener(change, () => this.reconnect()); // shows whether it still works
    }
  }

  open() {
    clearTimeout(this._timer);
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/relay/ws`, PROTOCOL);
    this._socket = socket;
    this._listen(socket);
    socket.onopen = () => {
      this._attempt = 0;
      this._onState({ connected: true });
      for (const subscription of this._subscriptions.values()) this._subscribe(subscription);
    };
    socket.onmessage = ({ data }) => {
      if (socket !== this._socket) return;
      this._listen(socket);
      this._received(JSON.parse(data));
    };
    socket.onclose = () => {
      if (socket === this._socket) this._lost();
    };
  }

  /** Connect now, in place of after a pause. */
  reconnect() {
    const socket = this._socket;
    this._socket = null;
    socket?.close();
    this.open();
  }

  _listen(socket) {
    clearTimeout(this._silence);
    this._silence = setTimeout(() => {
      if (socket !== this._socket) return;
      this._socket = null;
      socket.close();
      this._lost();
    }, SILENCE);
  }

  _lost() {
    clearTimeout(this._silence);
    this._socket = null;
    const most = Math.min(FIRST_PAUSE * 2 ** this._attempt, LONGEST_PAUSE);
    const pause = most * (0.5 + Math.random() / 2);
    this._attempt += 1;
    this._onState({
      connected: false, attempt: this._attempt, seconds: pause < 1000 ? 0 : Math.round(pause / 1000),
    });
    clearTimeout(this._timer);
    this._timer = setTimeout(() => this.open(), pause);
  }

  /**
   * Receive the events of a session, from its oldest one.
   *
   * @param {string} session
   * @param {object} listener
   * @param {(gap: {missed: number | null} | null) => void} listener.reset events follow from here.
   * @param {(events: {id?: string, event: string, data: string}[]) => void} listener.events
   * @param {(reason: string) => void} listener.closed no more events follow.
   * @returns {() => void} ends the subscription.
   */
  subscribe(session, listener) {
    const subscription = { session, listener, position: null };
    this._subscriptions.set(session, subscription);
    this._subscribe(subscription);
    return () => {
      if (this._subscriptions.get(session) !== subscription) return;
      this._subscriptions.delete(session);
      this._send({ type: "unsubscribe", sessionId: session });
    };
  }

  _subscribe({ session, position }) {
    const start = position === null ? { from: "earliest" } : { after: position };
    this._send({ type: "subscribe", sessionId: session, ...start });
  }

  _send(message) {
    if (this._socket?.readyState === WebSocket.OPEN) this._socket.send(JSON.stringify(message));
  }

  _received(message) {
    if (message.type === "session") {
      this._onSession();
      return;
    }
    const subscription = this._subscriptions.get(message.sessionId);
    if (!subscription) return;
    switch (message.type) {
      case "subscribed":
        subscription.position = message.position;
        subscription.listener.reset(message.gap ?? null);
        break;
      case "events":
        for (const { id } of message.events) if (id !== undefined) subscription.position = id;
        subscription.listener.events(message.events);
        break;
      case "closed":
        this._closed(subscription, message);
        break;
      default:
        break;
    }
  }

  _closed(subscription, { status, reason }) {
    if (status === 200) return; // an earlier subscription
    if (status === 503) {
      setTimeout(() => {
        if (this._subscriptions.get(subscription.session) === subscription) this._subscribe(subscription);
      }, FIRST_PAUSE + Math.random() * 1000);
      return;
    }
    this._subscriptions.delete(subscription.session);
    subscription.listener.closed(String(reason ?? ""));
  }
}
