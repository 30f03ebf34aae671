"""The longest time between two steps of the scheduler while the largest legal inputs arrive.

While an input is read, a second task does nothing but take turns. The longest time between two of
its turns, in seconds of CPU of the thread, is how long other tasks had to wait. It is printed as a
ratio to a reference loop of two million additions, measured in the same run, which takes about
50 ms; 1.0 is the most that is allowed. Pauses of Python's garbage collector are not counted: they
depend on how many objects a program holds, which are the results that it asked for. The rows that
are marked hold one text of 16 MiB in an event, which is parsed in one step: they are the documented
exception.

    python -m benchmarks.ticks [--only WORD]
"""

from __future__ import annotations

import argparse
import gc
import gzip
import json
import socket
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mix import Mix, errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

MIB = 2**20
MOST = 1.0
ADDITIONS = 2_000_000
_SESSION = "s1"
_ROW = {
    "id": "session-1",
    "title": "A title of some words, as people write them",
    "userMessageCount": 3,
    "assistantMessageCount": 3,
    "toolCallCount": 1,
    "promptTokens": 1234,
    "completionTokens": 555,
    "cost": 0.0123,
    "createdAt": "2025-01-02T03:04:05.123456Z",
    "workingDirectory": "/srv/project",
}
_CALL = {"id": "c", "name": "Bash", "input": '{"command": "ls"}', "type": "f", "finished": True}
_MESSAGE = {
    "id": "m",
    "sessionId": _SESSION,
    "role": "assistant",
    "userInput": "",
    "content": "Some words. " * 20,
    "assistantResponse": "Some words. " * 20,
    "createdAt": "2025-01-02T03:04:05Z",
    "updatedAt": "2025-01-02T03:04:05Z",
    "finishReason": "stop",
    "toolCalls": [_CALL] * 5,
}


class Wire:
    """A server in a thread, whose CPU is not counted: it answers with bytes that are prepared.

    Args:
      answers: bytes by path; ``/stream`` is answered when a message was posted, if one is expected.
    """

    def __init__(self, answers: dict[str, bytes], *, waits_for_post: bool = False) -> None:
        self._answers = answers
        self._posted = threading.Event()
        if not waits_for_post:
            self._posted.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while self._answer(connection):
                    pass
            except OSError:
                pass

    def _answer(self, connection: socket.socket) -> bool:
        request = b""
        while b"\r\n\r\n" not in request:
            data = connection.recv(65536)
            if not data:
                return False
            request += data
        head, _, body = request.partition(b"\r\n\r\n")
        left = -len(body)
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                left += int(line.partition(b":")[2])
        while left > 0:
            left -= len(connection.recv(65536))
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        path = target.partition("?")[0]
        if path == "/stream":
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
                b'id: 1\nevent: connected\ndata: {"sessionId": "s1"}\n\n'
            )
            self._posted.wait()
            connection.sendall(self._answers[path])
            connection.recv(1)  # until the client has read it
            return False
        if method == "POST" and path.endswith("/messages"):
            connection.sendall(_http(b'{"status": "processing", "sessionId": "s1"}', status=202))
            self._posted.set()
        elif path in self._answers:
            connection.sendall(self._answers[path])
        elif method == "POST" and path.endswith("/upload"):
            info = b'{"name": "a", "size": 1, "modified": 1, "isDir": false, "url": "/a"}'
            connection.sendall(_http(info, status=201))
        else:
            connection.sendall(_http(b"404 page not found", status=404))
        return True

    def close(self) -> None:
        self._posted.set()
        self._listener.close()


def _http(body: bytes, *, status: int = 200, headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n%b\r\n%b" % (status, len(body), headers, body)


def _frames(*events: tuple[str, object]) -> bytes:
    out = []
    for number, (name, data) in enumerate(events, 2):
        text = data if isinstance(data, str) else json.dumps(data)
        out.append(f"id: {number}\nevent: {name}\ndata: {text}\n\n".encode())
    return b"".join(out)


@attrs.frozen
class Input:
    """One of the largest legal inputs."""

    name: str
    answers: dict[str, bytes]
    read: Callable[[Mix], Awaitable[object]]
    exempt: bool = False
    waits_for_post: bool = False


def _rest() -> Iterator[Input]:
    row = json.dumps(_ROW).encode()
    rows = b"[" + b",".join([row] * (64 * MIB // (len(row) + 1) - 1)) + b"]"
    yield Input("a list of 64 MiB", {"/api/sessions": _http(rows)}, lambda mix: mix.sessions.list())
    packed = _http(gzip.compress(rows, 1), headers=b"Content-Encoding: gzip\r\n")
    yield Input("the same, compressed", {"/api/sessions": packed}, lambda mix: mix.sessions.list())
    message = json.dumps(_MESSAGE).encode()
    history = b"[" + b",".join([message] * (64 * MIB // (len(message) + 1) - 2)) + b"]"
    path = f"/api/sessions/{_SESSION}"
    yield Input(
        "stored messages of 64 MiB",
        {f"{path}/messages": _http(history)},
        lambda mix: mix.messages.get_session(id=_SESSION),
    )
    export = b'{"id": "s1", "title": "t", "messages": %b}' % history
    yield Input(
        "an export of 64 MiB",
        {f"{path}/export": _http(export)},
        lambda mix: mix.sessions.export_session(id=_SESSION),
    )
    odd = b"[" + b",".join([row, b"{}"] * (32 * MIB // len(row))) + b"]"
    yield Input(
        "a list of 32 MiB, half of it odd",
        {"/api/sessions": _http(odd)},
        lambda mix: _refused(mix.sessions.list()),
    )
    yield Input(
        "one text of 16 MiB in a list",
        {"/api/sessions": _http(json.dumps([{**_ROW, "title": "é" * 8 * MIB}]).encode())},
        lambda mix: mix.sessions.list(),
    )


async def _refused(call: Awaitable[object]) -> None:
    try:
        await call
    except errors.ResponseValidationError:
        return
    raise AssertionError("this was expected to be refused")


def _files() -> Iterator[Input]:
    path = f"/api/sessions/{_SESSION}/files/a"
    made = b"x" * 64 * MIB
    content = {path: _http(made)}
    yield Input(
        "a file of 64 MiB, read whole",
        content,
        lambda mix: mix.files.get(id=_SESSION, filename="a"),
    )

    async def download(mix: Mix) -> None:
        with tempfile.TemporaryDirectory() as folder:
            await mix.files.download(id=_SESSION, filename="a", to=Path(folder) / "a")

    yield Input("a file of 64 MiB, saved", content, download)
    yield Input(
        "an upload of 64 MiB",
        {},
        lambda mix: mix.files.upload(id=_SESSION, file=made, filename="a"),
    )


def _streams() -> Iterator[Input]:
    done = ("complete", {"done": True, "messageId": "m"})
    text = "Some words. " * (16 * MIB // 12 - 100)
    started = ("tool_use_start", {"id": "t", "name": "write"})
    deltas = [_delta(40)] * 80_000
    starts = ("tool_execution_start", {"toolCallId": "t", "toolName": "write", "progress": "p"})
    unfinished = [_delta(7 * MIB)] * 2
    permission = {"id": "p", "toolName": "t", "action": "a", "params": {"a": ["x" * 15 * MIB]}}
    word: tuple[str, object] = ("content", {"content": "word ", "assistantMessageId": "m"})
    cases: list[tuple[str, list[tuple[str, object]], bool]] = [
        ("a text event of 16 MiB", [("content", {"content": text})], True),
        ("an unknown event of 16 MiB", [("no_such", {"content": text})], True),
        ("a tool's input of 16 MiB", [started, ("tool", _tool(text))], True),
        ("4 MB of tool input in 80,000 deltas", [started, *deltas], False),
        ("30 starts after 14 MiB of input", [started, *unfinished, *[starts] * 30], True),
        (
            "a torn permission request of 15 MiB",
            [("permission", json.dumps(permission)[:-3])],
            True,
        ),
        ("200,000 deltas in a burst", [word] * 200_000, False),
    ]
    for name, events, exempt in cases:
        frames = {"/stream": _frames(*events, done)}
        yield Input(f"{name}, in a message", frames, _message, exempt, waits_for_post=True)
        yield Input(f"{name}, in stream_events", frames, _events, exempt)


def _delta(size: int) -> tuple[str, object]:
    return "tool_use_parameter_delta", {"toolCallId": "t", "input": "x" * size}


def _small() -> Iterator[Input]:
    frames = {"/stream": _frames(("complete", {"done": True, "messageId": "m"}))}
    yield Input("a message", frames, _message, waits_for_post=True)
    yield Input("events", frames, _events)
    yield Input("a list", {"/api/sessions": _http(b"[]")}, lambda mix: mix.sessions.list())


def _tool(text: str) -> dict[str, object]:
    inner = json.dumps({"text": text})
    return {"id": "t", "name": "write", "input": inner, "type": "f", "status": "completed"}


async def _message(mix: Mix) -> None:
    async with mix.open_stream(_SESSION, max_event_size=32 * MIB) as session:
        try:
            await session.ask("go")
        except errors.MessageError as error:
            print(f"    ({type(error).__name__})")


async def _events(mix: Mix) -> None:
    async with mix.streaming.stream_events(session_id=_SESSION) as events:
        async for event in events:
            if type(event).__name__ == "CompleteEvent":
                return


@contextmanager
def _served(entry: Input) -> Iterator[str]:
    wire = Wire(entry.answers, waits_for_post=entry.waits_for_post)
    try:
        yield wire.url
    finally:
        wire.close()


def longest_stop(main: Callable[[], Awaitable[object]]) -> float:
    """Return the longest time between two turns of another task, in seconds of CPU."""
    longest = collecting = 0.0
    kept: list[object] = []

    async def take_turns() -> None:
        nonlocal longest, collecting
        last = time.thread_time()
        while True:
            collecting = 0.0
            try:
                await trio.lowlevel.checkpoint()
            finally:
                now = time.thread_time()
                longest, last = max(longest, now - last - collecting), now

    began = 0.0

    def collect(phase: str, _: object) -> None:
        nonlocal began, collecting
        if phase == "start":
            began = time.thread_time()
        else:
            collecting += time.thread_time() - began

    # The objects of this program are not the library's: collecting garbage skips them.
    gc.collect()
    gc.freeze()

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take_turns)
            for _ in range(3):
                await trio.lowlevel.checkpoint()
            kept.append(await main())  # to free it is up to the program
            nursery.cancel_scope.cancel()

    gc.callbacks.append(collect)
    try:
        trio.run(run)
    finally:
        gc.callbacks.remove(collect)
        gc.unfreeze()
    return longest


def reference() -> float:
    """Return the same for a loop of a known length: the median of five."""

    async def add() -> None:
        total = 0
        for number in range(ADDITIONS):
            total += number
        await trio.lowlevel.checkpoint()

    return sorted(longest_stop(add) for _ in range(5))[2]


def measure(entry: Input) -> float:
    """Return the longest stop while an input is read."""
    with _served(entry) as url:

        async def read() -> object:
            async with Mix(url, timeout=600.0) as mix:
                return await entry.read(mix)

        return longest_stop(read)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="the inputs whose names contain this")
    options = parser.parse_args()
    for entry in _small():  # what is imported at its first use
        measure(entry)
    loop = reference()
    print(f"the reference loop: {loop * 1000:.1f} ms")
    failed = False
    for inputs in (_rest, _files, _streams):
        for entry in inputs():
            if options.only not in entry.name:
                continue
            stop = measure(entry)
            ratio = stop / loop
            verdict = "" if ratio <= MOST else "one text" if entry.exempt else "TOO LONG"
            failed |= verdict == "TOO LONG"
            print(f"{entry.name:60} {stop * 1000:8.1f} ms {ratio:6.2f}  {verdict}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
