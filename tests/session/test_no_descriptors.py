"""A process that cannot open another file reconnects later, and imports nothing while it fails."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("resource")

PROGRAM = r'''
import errno, resource, sys
import trio
from trio_mix import Mix, errors, events
from trio_mix.sse import ReconnectPolicy, open_event_source

HEAD = (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
HELLO = b'id: 1\nevent: connected\ndata: {"sessionId":"s"}\n\n'
CREATED = b'id: 2\nevent: user_message_created\ndata: {"messageId":"u%d","content":"go"}\n\n'
TEXT = b'id: 3\nevent: content\ndata: {"content":"Hi","assistantMessageId":"a%d"}\n\n'
END = b'id: 4\nevent: complete\ndata: {"done":true,"content":"Hi","messageId":"a%d"}\n\n'
ANSWER = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n%b"

def chunk(data): return b"%x\r\n%b\r\n" % (len(data), data)
def answer(status, body=b"", kind=b"text/html", more=b""):
    return ANSWER % (status, kind, len(body), more, body)

PAGE = b"<html>busy</html>"
OWN = b'{"error":{"code":%d,"message":"no \\ud800","type":"t"}}'
JSON = b"application/json"
ACCEPTED = b'{"status":"processing","sessionId":"s"}'
FAILURES = [
    answer(b"400 Hm", OWN % 400, JSON),
    answer(b"502 Bad Gateway", PAGE),
    answer(b"503 Busy", OWN % 503, JSON, b"Retry-After: 0\r\n"),
    answer(b"429 Busy", b"", b"text/plain", b"Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n"),
    answer(b"200 OK", PAGE),
    answer(b"200 OK", b"data: x\n\n", b"text/event-stream", b"Content-Encoding: gzip\r\n"),
    answer(b"404 Not Found"),
    answer(b"410 Gone", PAGE),
    answer(b"401 Unauthorized", PAGE),
    answer(b"302 Found", b"", b"text/plain", b"Location: http://login.example/\r\n"),
    answer(b"307 Again", b"", b"text/plain"),
    b"nonsense\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    b"",
    HEAD + b"zz\r\n",
    HEAD + chunk(b": cut") ,
    HEAD[:20],
]
state = {"failing": [], "streams": 0, "posts": 0, "current": None}

async def request(stream):
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.receive_some(65536)
        if not more: return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            size = int(line.split(b":")[1])
            while len(body) < size: body += await stream.receive_some(65536)
    return head.split(b" ")[:2]

async def serve(stream):
    try:
        while True:
            asked = await request(stream)
            if asked is None: return
            method, target = asked
            if method == b"POST":
                state["posts"] += 1
                await stream.send_all(answer(b"202 Accepted", ACCEPTED, JSON))
                turn = (CREATED + TEXT + END) % ((state["posts"],) * 3)
                await state["current"].send_all(chunk(turn))
            elif target.startswith(b"/stream"):
                state["streams"] += 1
                if state["failing"]:
                    await stream.send_all(state["failing"].pop(0))
                    return
                state["current"] = stream
                await stream.send_all(HEAD + chunk(HELLO))
                await trio.sleep_forever()
            else:
                await stream.send_all(answer(b"404 Not Found"))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass

class NoImports:
    """As if no descriptor was left."""
    tried = []
    def find_spec(self, name, path=None, target=None):
        self.tried.append(name)
        raise OSError(errno.EMFILE, "Too many open files", name)

async def main(talk, own_client):
    client = None
    if own_client:
        import httpx
        client = httpx.AsyncClient()
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        async def run(stream):
            async with stream: await serve(stream)
        nursery.start_soon(trio.serve_listeners, run, listeners)
        url = f"http://127.0.0.1:{port}"
        policy = ReconnectPolicy(initial_interval=0.001, max_interval=0.01)
        async with Mix(url, api="async", http_client=client) as mix:
            async with mix.open_stream("s", reconnect=policy) as session:
                if talk:
                    assert (await session.ask("go")).text == "Hi"
                finder = NoImports()
                sys.meta_path.insert(0, finder)
                soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
                resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
                state["failing"] = FAILURES[0 if talk else 1:]  # the first one needs an id
                before = session.statistics().connects
                source = session._controller.reader.source
                tried = source.statistics().attempts
                await trio.aclose_forcefully(state["current"])
                with trio.fail_after(60):
                    while source.statistics().attempts < tried + 3:
                        await trio.sleep(0.001)
                assert "Too many open files" in source.statistics().last_loss
                assert state["failing"]
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                with trio.fail_after(60):
                    while state["failing"] or session.state.value != "connected" or (
                        session.statistics().connects == before
                    ):
                        await trio.sleep(0.001)
                        assert session.state.value != "closed", await session.wait_connected()
                    # A message's connection is lost, too.
                    if talk:
                        assert (await session.ask("go")).text == "Hi"
                sys.meta_path.remove(finder)
                assert finder.tried == [], finder.tried
        nursery.cancel_scope.cancel()
    if client is not None: await client.aclose()
    print("fine")

trio.run(main, sys.argv[1] == "talk", sys.argv[2] == "theirs")
'''


@pytest.mark.parametrize("client", ["own", "theirs"])
@pytest.mark.parametrize("talk", ["talk", "idle"])
def test_failures_without_descriptors_are_retried_and_import_nothing(
    talk: str, client: str
) -> None:
    done = subprocess.run(  # noqa: S603 - the program above
        [sys.executable, "-W", "ignore", "-c", PROGRAM, talk, client],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr
