// Follow sessions of a relay, and send messages, in a browser or in Node.js 22:
//   node examples/relay_socket.mjs SESSION [TEXT]

export class RelaySocket {
  #url; #socket; #delay = 0; #closed = false;
  #sessions = new Map(); // id -> { position, onEvent }
  #unanswered = new Map(); // key -> { message, resolve, reject }

  constructor(url) {
    this.#url = `${url}/relay/ws`;
    this.#connect();
  }

  /** Call a function with each event: { id, event, data }. `after` is a position from before. */
  subscribe(sessionId, onEvent, after = undefined) {
    this.#sessions.set(sessionId, { position: after, onEvent });
    this.#post({ type: "subscribe", sessionId, after });
  }

  /** Send a message; the promise has the turn's id, or fails with the relay's refusal. */
  send(sessionId, text) {
    const key = crypto.randomUUID();
    return new Promise((resolve, reject) => {
      const message = { type: "send", sessionId, key, body: { text } };
      this.#unanswered.set(key, { message, resolve, reject });
      this.#post(message);
    });
  }

  close() {
    this.#closed = true;
    this.#socket.close();
  }

  #connect() {
    this.#socket = new WebSocket(this.#url, "mix.relay.v1");
    this.#socket.onopen = () => {
      this.#delay = 0;
      for (const [sessionId, { position }] of this.#sessions)
        this.#post({ type: "subscribe", sessionId, after: position });
      // The same key: a message that was accepted already is not run again.
      for (const { message } of this.#unanswered.values()) this.#post(message);
    };
    this.#socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
    let ended = false; // Node.js 20 reports a refused connection as an error only
    this.#socket.onclose = this.#socket.onerror = () => {
      if (ended || this.#closed) return;
      ended = true;
      setTimeout(() => this.#connect(), this.#delay + Math.random() * 500);
      this.#delay = Math.min(30_000, this.#delay * 2 + 500);
    };
  }

  #post(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #take(message) {
    const session = this.#sessions.get(message.sessionId);
    if (message.type === "subscribed" && session) session.position = message.position;
    if (message.type === "events" && session)
      for (const event of message.events) {
        if (event.id) session.position = event.id;
        session.onEvent(event);
      }
    if (message.type === "closed" && message.status === 503)
      setTimeout(() => this.#post({
        type: "subscribe", sessionId: message.sessionId, after: session?.position,
      }), 1000);
    const waiting = this.#unanswered.get(message.key);
    if (waiting && (message.type === "accepted" || message.type === "refused")) {
      this.#unanswered.delete(message.key);
      if (message.type === "accepted") waiting.resolve(message);
      else waiting.reject(new Error(`HTTP ${message.status}: ${message.error}`));
    }
  }
}

// The program
if (globalThis.process?.argv[1]?.endsWith("relay_socket.mjs")) {
  const [, , sessionId, text] = process.argv;
  const relay = new RelaySocket(process.env.MIX_SERVER_URL?.replace(/^http/, "ws") ?? "ws://localhost:8090");
  let turnId;
  relay.subscribe(sessionId, ({ event, data }) => {
    console.log(event, data);
    const { turnId: of, state } = JSON.parse(data);
    if (event === "turn" && of === turnId && ["done", "unknown", "cancelled"].includes(state)) relay.close();
  });
  if (text) ({ turnId } = await relay.send(sessionId, text));
}
