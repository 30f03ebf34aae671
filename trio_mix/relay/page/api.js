// The requests of the page. Events come through the transport.

/** The server refused a request, or could not be reached (status 0). */
export class ApiError extends Error {
  constructor(status, message, retryAfter = 0) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may succeed later. */
  get passing() {
    return [0, 408, 429, 502, 503, 504].includes(this.status);
  }
}

let onUnauthorized = () => {};

export function whenUnauthorized(callback) {
  onUnauthorized = callback;
}

/** Make a request and return its response; with `json`, a JSON body is sent. */
export async function request(method, path, { json, headers = {}, quiet = false } = {}) {
  const given = { method, headers: { ...headers }, credentials: "same-origin", cache: "no-store" };
  if (json !== undefined) {
    given.headers["Content-Type"] = "application/json";
    given.body = JSON.stringify(json);
  }
  let response;
  try {
    response = await fetch(path, given);
  } catch {
    throw new ApiError(0, "the relay cannot be reached");
  }
  if (response.ok) return response;
  if (response.status === 401 && !quiet) onUnauthorized();
  const after = Number(response.headers.get("Retry-After")) || 0;
  throw new ApiError(response.status, await problem(response), after);
}

async function problem(response) {
  const text = await response.text().catch(() => "");
  try {
    const { error } = JSON.parse(text);
    return String(error.message ?? error);
  } catch {
    return `the server answered ${response.status}`;
  }
}

async function jsonOf(response) {
  try {
    return await response.json();
  } catch {
    throw new ApiError(response.status, "the server does not have this operation");
  }
}

const id = encodeURIComponent;

let generation = "";

export async function readiness() {
  const response = await fetch("/relay/health/ready", { cache: "no-store" });
  const state = await response.json();
  generation = state.generation ?? generation;
  return state;
}

export const signIn = (token) =>
  request("POST", "/relay/page/cookie", { json: { token }, quiet: true });

export const signOut = () => request("DELETE", "/relay/page/cookie", { quiet: true });

/** Call a method of the oldest servers, which have no REST. */
async function rpc(method, params) {
  const answer = await jsonOf(await request("POST", "/rpc", { json: { method, params, id: 1 } }));
  if (answer.error) throw new ApiError(400, String(answer.error.message ?? "the server refused it"));
  return answer.result;
}

const isOldest = () => generation === "pipeline-oldest";

export async function sessions() {
  if (!generation) await readiness();
  const rows = isOldest() ? await rpc("sessions.list", {}) : await jsonOf(await request("GET", "/api/sessions"));
  return Array.isArray(rows) ? rows.filter((row) => typeof row?.id === "string") : [];
}

export async function session(name) {
  if (isOldest()) return await rpc("sessions.get", { id: name });
  return await jsonOf(await request("GET", `/api/sessions/${id(name)}`));
}

export async function activity() {
  return (await jsonOf(await request("GET", "/relay/sessions"))).sessions;
}

export async function createSession(title) {
  if (isOldest()) return await rpc("sessions.create", { title });
  try {
    return await jsonOf(await request("POST", "/api/sessions", { json: { title } }));
  } catch (error) {
    if (error.status !== 400 || !error.message.includes("browserMode")) throw error;
    const json = { title, browserMode: "local-browser-service" };
    return await jsonOf(await request("POST", "/api/sessions", { json }));
  }
}

export async function deleteSession(name) {
  if (isOldest()) await rpc("sessions.delete", { id: name });
  else await request("DELETE", `/api/sessions/${id(name)}`);
}

export async function messages(session) {
  if (isOldest()) {
    const stored = await rpc("messages.list", { sessionId: session });
    return (stored ?? []).map((row) => ({
      ...row, [row.role === "user" ? "userInput" : "assistantResponse"]: row.content,
    }));
  }
  const rows = await jsonOf(await request("GET", `/api/sessions/${id(session)}/messages`));
  return Array.isArray(rows) ? rows : [];
}

/** Send a message; a repetition with the same key does not run it again. */
export async function send(session, key, text) {
  const headers = { "Idempotency-Key": key, Prefer: "respond-async" };
  if (!generation) await readiness();
  if (generation.startsWith("pipeline")) {
    const json = { content: JSON.stringify({ text }) };
    return await request("POST", `/stream/${id(session)}/message`, { json, headers });
  }
  return await request("POST", `/api/sessions/${id(session)}/messages`, { json: { text }, headers });
}

export const cancelTurn = (turn) => request("POST", `/relay/turns/${id(turn)}/cancel`, { json: {} });

export const cancelSession = (name) => request("POST", `/api/sessions/${id(name)}/cancel`, { json: {} });

export const decide = (permission, grant) =>
  request("POST", `/api/permissions/${id(permission)}/${grant ? "grant" : "deny"}`, { json: {} });

export const respond = (notification, type, value) =>
  request("POST", `/api/notifications/${id(notification)}/respond`, {
    json: value === undefined ? { type } : { type, value },
  });

export const fileUrl = (session, name) => `/api/sessions/${id(session)}/files/${id(name)}`;

export async function files(session) {
  const rows = await jsonOf(await request("GET", `/api/sessions/${id(session)}/files`));
  return Array.isArray(rows) ? rows : [];
}

/** Upload a file; `onProgress` gets the part that was sent, from 0 to 1. */
export function upload(session, file, onProgress) {
  return new Promise((resolve, reject) => {
    // fetch() cannot report the progress of an upload.
    const call = new XMLHttpRequest();
    call.open("POST", `/api/sessions/${id(session)}/files/upload`);
    call.upload.onprogress = (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    };
    call.onerror = () => reject(new ApiError(0, "the connection was lost"));
    call.onload = () => {
      if (call.status < 300) resolve();
      else reject(new ApiError(call.status, `the server answered ${call.status}`));
    };
    const form = new FormData();
    form.append("file", file, file.name);
    call.send(form);
  });
}
