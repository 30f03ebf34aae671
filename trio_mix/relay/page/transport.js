// Brings the events of sessions, and reconnects.

const NAMES = [
  "user_message_created", "thinking", "content", "tool", "tool_parameter_delta", "tool_use_start",
  "tool_use_parameter_delta", "tool_use_parameter_streaming_complete", "tool_execution_start",
  "tool_execution_complete", "permission", "permission_settled", "notification", "summarize",
  "complete", "error", "rate_limit_error", "gap", "turn", "presence", "session_created",
  "session_deleted",
];

export class Transport {
  constructor({ onState, onSession }) {
    this._onState = onState;
    this._onSession = onSession;
    this._sources = new Set();
  }

  open() {
    this._onState({ connected: true });
  }

  reconnect() {}

  subscribe(session, listener) {
    const query = new URLSearchParams({ sessionId: session, relay: "1", from: "earliest" });
    const source = new EventSource(`/stream?${query}`);
    source.addEventListener("connected", (event) => {
      this._onState({ connected: true });
      listener.reset(JSON.parse(event.data).gap ?? null);
    });
    source.onerror = () => this._onState({ connected: false });
    for (const name of NAMES) {
      source.addEventListener(name, (event) => {
        if (event.data === undefined) return;
        if (name.startsWith("session_")) this._onSession();
        else listener.events([{ id: event.lastEventId, event: name, data: event.data }]);
      });
    }
    return () => source.close();
  }
}
