"""The full road: a stream is opened, a message is sent, its events are read to the end."""

from __future__ import annotations

import gc
import json
import resource
import threading
import time
from typing import Any

import trio

from benchmarks import corpus
from benchmarks.sample import Missing

SLOW = {"mix-python-sdk": 50}


def _session(*parts: object) -> str:
    """Return a session that nobody has used: the server counts the turns of each."""
    return ".".join(map(str, ("road", *parts, time.perf_counter_ns())))


async def _trio_mix(
    url: str, count: int, chunking: str, form: str, messages: int, api: Any
) -> float:
    from trio_mix import Mix
    from trio_mix.events import ContentEvent

    async with Mix(url, api=api) as mix:
        few = min(count, 500)
        session = _session(few, chunking, form, api)
        async with mix.open_stream(session) as stream, stream.send("Hello") as message:
            check = corpus.Check()
            async for event in message:
                if isinstance(event, ContentEvent):
                    check.add(event.content)
            check.done(few, 3)
        gc.collect()
        began = time.process_time()
        session = _session(count, chunking, form, api)
        replies: list[tuple[int, str]] = []
        # A buffer that holds all: a delta that was merged into another would count as for free.
        async with mix.open_stream(session, message_buffer=count + 8) as stream:
            for _ in range(messages):
                seen = 0
                async with stream.send("Hello") as message:
                    async for _event in message:
                        seen += 1
                    replies.append((seen, message.reply.text))
        took = time.process_time() - began
    first = 3
    for seen, text in replies:
        assert seen == count + (2 if api == "async" else 1)
        assert text == "".join(map(corpus.text_of, range(first, first + count)))
        first += count + 2
    return took


def _mix_python_sdk(
    url: str, count: int, chunking: str, form: str, messages: int, api: str
) -> float:
    """What its users write, as its own query helper does: the message is sent from a thread.

    It begins once the stream has said ``connected``, where the helper slept.
    """
    from mix_python_sdk import Mix

    session = _session(count, chunking, form, api)
    began = time.process_time()
    with Mix(server_url=url) as mix:  # noqa: SIM117 - as its users write it
        with mix.streaming.stream_events(session_id=session).result as events:
            for _ in range(messages):
                parts: list[str] = []
                sender = threading.Thread(
                    target=mix.streaming.send_streaming_message,
                    kwargs={"id": session, "content": json.dumps({"text": "Hello"})},
                )
                for event in events:
                    if event.event == "connected":
                        sender.start()
                    elif event.event == "content":
                        parts.append(event.data.content)
                    elif event.event == "complete":
                        break
                sender.join()
                assert "".join(parts) == event.data.content
                assert len(parts) == count
    return time.process_time() - began


async def _sessions(url: str, count: int, sessions: int) -> float:
    """Let many sessions each read a message at once."""
    from trio_mix import Mix

    async def one() -> None:
        async with mix.open_stream(_session(count, "frame", "new", "async")) as stream:
            reply = await stream.ask("Hello")
            assert reply.text.endswith(corpus.text_of(count + 2))

    began = time.process_time()
    async with Mix(url, api="async") as mix, trio.open_nursery() as nursery:
        for _ in range(sessions):
            nursery.start_soon(one)
    return time.process_time() - began


async def _slow(url: str, count: int) -> dict[str, float]:
    """Let a consumer sleep while the whole turn comes: the reader must not wait for it."""
    from trio_mix import Mix

    async with Mix(url, api="async") as mix:
        session = _session(count, "frame", "new", "async")
        async with mix.open_stream(session) as stream, stream.send("Hello") as message:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            began, cpu = time.perf_counter(), time.process_time()
            while not message.finished:  # noqa: ASYNC110 - it is to sleep
                await trio.sleep(0.001)
            came, used = time.perf_counter(), time.process_time()
            text = ""
            async for event in message:
                text += getattr(event, "content", "") * (type(event).__name__ == "ContentEvent")
            assert text == message.reply.text
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "µs/event": (used - cpu) / count * 1e6,
        "s to the end": came - began,
        "MB": (after - before) / 1024,
    }


def sample(
    peer: str,
    *,
    url: str,
    count: int,
    chunking: str = "frame",
    form: str = "new",
    messages: int = 1,
    api: str = "async",
    sessions: int = 1,
    slow: bool = False,
) -> dict[str, float]:
    """Return the µs for each event."""
    if slow:
        figures: dict[str, float] = trio.run(_slow, url, count)
        return figures
    if sessions > 1:
        return {"µs/event": trio.run(_sessions, url, count, sessions) / count / sessions * 1e6}
    if peer == "mix-python-sdk":
        if messages > 1:
            raise Missing("its stream must be opened anew for each message")
        count //= SLOW[peer]
        took = _mix_python_sdk(url, count, chunking, form, messages, "pipeline")
    elif peer == "trio_mix Message":
        took = trio.run(_trio_mix, url, count, chunking, form, messages, api)
    else:  # what only receives, of the same size
        from benchmarks import stream

        return stream.sample(peer, what="flood", url=url, count=count, chunking=chunking, form=form)
    return {"µs/event": took / (count * messages) * 1e6}
