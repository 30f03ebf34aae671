"""A message from end to end: a stream is opened, a message is sent, its events are read."""

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
TEXT = "Hello"
FIRST = 3  # the number of the corpus' first event in the first turn


def _session(*parts: object) -> str:
    """Return a session that is not in use yet: the server counts the turns of each."""
    return ".".join(map(str, ("message", *parts, time.perf_counter_ns())))


def _turn(count: int, kind: str, turn: int = 1) -> list[corpus.Event]:
    """Return the events of a turn."""
    return list(corpus.events(count, kind, FIRST + (turn - 1) * (count + 2), turn))


async def _verify(mix: Any, count: int, kind: str, chunking: str, form: str, api: str) -> None:
    """Compare each event of a message with what was sent."""
    sent = _turn(count, kind)
    start = [corpus.started(TEXT, 1)] if api == "async" else []
    end = corpus.completed(sent)
    check = corpus.Check([*start, *(event for event in sent if event.of_turn), end])
    session_id = _session(count, kind, chunking, form, api)
    async with (
        mix.open_stream(session_id, message_buffer=count + 8) as session,
        session.send(TEXT) as message,
    ):
        async for event in message:
            check.add(event)
    check.done()
    assert message.reply.final_text == end.payload["content"]


async def _trio_mix(
    url: str, count: int, kind: str, chunking: str, form: str, messages: int, api: Any
) -> float:
    from trio_mix import Mix

    async with Mix(url, api=api) as mix:
        await _verify(mix, min(count, 700), kind, chunking, form, api)
        gc.collect()
        began = time.process_time()
        session_id = _session(count, kind, chunking, form, api)
        replies: list[tuple[int, str]] = []
        # A buffer that holds all events: deltas that are merged would cost nothing each.
        async with mix.open_stream(session_id, message_buffer=count + 8) as session:
            for _ in range(messages):
                seen = 0
                async with session.send(TEXT) as message:
                    async for _event in message:
                        seen += 1
                    replies.append((seen, message.reply.text))
        took = time.process_time() - began
    for turn, (seen, text) in enumerate(replies, 1):
        sent = _turn(count, kind, turn)
        assert seen == sum(event.of_turn for event in sent) + (2 if api == "async" else 1)
        assert text == "".join(event.text for event in sent)
    return took


def _mix_python_sdk(
    url: str, count: int, kind: str, chunking: str, form: str, messages: int, api: str
) -> float:
    """Do what the SDK's own query helper did: send the message from a thread.

    The thread starts when ``connected`` has come, where the helper slept.
    """
    from mix_python_sdk import Mix

    session_id = _session(count, kind, chunking, form, api)
    began = time.process_time()
    with Mix(server_url=url) as mix:  # noqa: SIM117 - as its users write it
        with mix.streaming.stream_events(session_id=session_id).result as events:
            for _ in range(messages):
                parts: list[str] = []
                sender = threading.Thread(
                    target=mix.streaming.send_streaming_message,
                    kwargs={"id": session_id, "content": json.dumps({"text": TEXT})},
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
        session_id = _session(count, corpus.DELTAS, "frame", "new", "async")
        async with mix.open_stream(session_id) as session:
            reply = await session.ask(TEXT)
            assert reply.text.endswith(corpus.event(count + 2).text)

    began = time.process_time()
    async with Mix(url, api="async") as mix, trio.open_nursery() as nursery:
        for _ in range(sessions):
            nursery.start_soon(one)
    return time.process_time() - began


async def _slow(url: str, count: int) -> dict[str, float]:
    """Let a consumer sleep while the whole turn arrives: the reader must not wait for it."""
    from trio_mix import Mix
    from trio_mix.events import ContentEvent

    async with Mix(url, api="async") as mix:
        session_id = _session(count, corpus.DELTAS, "frame", "new", "async")
        async with mix.open_stream(session_id) as session, session.send(TEXT) as message:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            began, cpu = time.perf_counter(), time.process_time()
            while not message.finished:  # noqa: ASYNC110 - a consumer that sleeps
                await trio.sleep(0.001)
            came, used = time.perf_counter(), time.process_time()
            parts = [event.content async for event in message if isinstance(event, ContentEvent)]
            assert "".join(parts) == message.reply.text
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
    kind: str = corpus.DELTAS,
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
            raise Missing("its stream must be opened again for each message")
        count //= SLOW[peer]
        took = _mix_python_sdk(url, count, kind, chunking, form, messages, "pipeline")
    elif peer == "trio_mix Message":
        took = trio.run(_trio_mix, url, count, kind, chunking, form, messages, api)
    else:  # the same events on a stream that only receives
        from benchmarks import stream

        return stream.sample(
            peer, what="flood", url=url, count=count, kind=kind, chunking=chunking, form=form
        )
    return {"µs/event": took / (count * messages) * 1e6}
