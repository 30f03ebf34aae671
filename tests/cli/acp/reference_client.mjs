// Drives an agent with the reference client: a prompt with a permission, a cancel, and a load.
// Arguments: the agent's command. Prints one JSON object.
import { spawn } from "node:child_process";
import { Readable, Writable } from "node:stream";
import * as acp from "@agentclientprotocol/sdk";

const command = process.argv.slice(2);
const agent = acp.methods.agent;
const child = spawn(command[0], command.slice(1), { stdio: ["pipe", "pipe", "inherit"] });
const ended = new Promise((resolve) => child.on("exit", resolve));
const stream = acp.ndJsonStream(Writable.toWeb(child.stdin), Readable.toWeb(child.stdout));

let updates = [];
let onTool = () => {};
const asked = [];
const client = acp.client({ name: "reference" });
client.onNotification(acp.methods.client.session.update, ({ params }) => {
  updates.push(params.update);
  if (params.update.sessionUpdate === "tool_call") onTool();
});
client.onRequest(acp.methods.client.session.requestPermission, ({ params }) => {
  asked.push(params.toolCall.title);
  return { outcome: { outcome: "selected", optionId: "allow" } };
});

const text = (kind) =>
  updates.filter((u) => u.sessionUpdate === kind).map((u) => u.content.text).join("");

const report = await client.connectWith(stream, async (context) => {
  const found = {};
  const prompt = (sessionId, words) =>
    context.request(agent.session.prompt, { sessionId, prompt: [{ type: "text", text: words }] });
  const hello = { protocolVersion: acp.PROTOCOL_VERSION, clientCapabilities: {} };
  found.version = (await context.request(agent.initialize, hello)).protocolVersion;
  const place = { cwd: "/tmp", mcpServers: [] };
  const { sessionId } = await context.request(agent.session.new, place);
  found.allowed = (await prompt(sessionId, "allowed")).stopReason;
  found.text = text("agent_message_chunk");
  const atWork = new Promise((resolve) => { onTool = resolve; });
  const hanging = prompt(sessionId, "hang");
  await atWork;
  await context.notify(agent.session.cancel, { sessionId });
  found.cancelled = (await hanging).stopReason;
  updates = [];
  await context.request(agent.session.load, { sessionId, ...place });
  found.loaded = text("user_message_chunk") + ": " + text("agent_message_chunk");
  try {
    await context.request(agent.session.load, { sessionId: "unknown", ...place });
  } catch (error) {
    found.unknown = error.code;
  }
  return found;
});
child.stdin.end();
console.log(JSON.stringify({ ...report, asked, exit: await ended }));
