"""The stream is cut after each byte of a turn, on each generation, in memory.

By default every n-th byte from a random start is tested; ``TRIO_MIX_EVERY_BYTE=1`` tests all bytes.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Literal

import pytest
import trio
import trio.testing

from trio_mix import Mix, errors
from trio_mix import events as ev
from trio_mix.testing import (
    Cut,
    FaultPlan,
    FaultProxy,
    MixServer,
    Rule,
    Say,
    Think,
    Turn,
    UseTool,
)

if TYPE_CHECKING:
    from trio_mix import Reply, SessionStream
    from trio_mix.testing import Api

_STEP = 1 if os.environ.get("TRIO_MIX_EVERY_BYTE") else 47
_TURN = Turn(
    Think("Let me see.", deltas=2),
    Say("I look. ", deltas=["I ", "look. "]),
    UseTool("glob", {"pattern": "*"}, result="a.txt"),
    Say("One file: “a”.", deltas=["One ", "file: “", "a”."]),
)
_WHOLE = "I look. One file: “a”."


class _Scene:
    """One turn through a proxy that cuts the stream at a byte."""

    def __init__(
        self, api: Api, *, replay: bool, cut: Cut | None = None, how: str = "stream"
    ) -> None:
        self.api: Api = api
        self.replay = replay
        path = {"stream": "/stream", "send": "/"}[how]
        method = {"stream": "GET", "send": "POST"}[how]
        rules = [] if cut is None else [Rule(cut, path=path, method=method, connections=[1])]
        self.plan = FaultPlan(*rules)
        self.opened_after = 0
        self.length = 0
        self.runs = 0
        self.result: Reply | errors.TrioMixError | None = None
        self.deltas: list[str] = []
        self.joined = ""
        self.next = ""

    def run(self) -> None:
        trio.run(self._main, clock=trio.testing.MockClock(autojump_threshold=0))

    async def _main(self) -> None:
        async with (
            MixServer(self.api, listen=False, pace=0.0, replay=self.replay) as server,
            FaultProxy(server, self.plan) as proxy,
            Mix(proxy.url, network=proxy.network) as mix,
        ):
            server.script("go", _TURN)
            server.script("next", Turn(Say("Here.")))
            session_id = server.create_session()
            with trio.fail_after(1000):
                try:
                    async with mix.open_stream(session_id) as session:
                        await self._use(session, proxy)
                except errors.TrioMixError as exc:
                    self.result = self.result or exc
            self.runs = server.runs("go")

    async def _use(self, session: SessionStream, proxy: FaultProxy) -> None:
        self.opened_after = proxy.statistics().bytes_down
        try:
            async with session.send("go") as message:
                async for delta in message.text_deltas():
                    self.deltas.append(delta)
                self.result = message.reply
        except errors.MessageError as exc:
            self.result = exc
        self.length = session.statistics().bytes
        try:
            self.next = (await session.ask("next")).text
        except errors.MessageInterrupted:  # the byte belonged to this message
            self.next = (await session.ask("next")).text


def _record(api: Api, *, replay: bool) -> int:
    """Return the number of bytes of a stream's connection for one turn, including its head."""
    seen: list[int] = []
    scene = _Scene(api, replay=replay, cut=Cut(10**9))
    counted = scene.plan

    async def main() -> None:
        async with (
            MixServer(api, listen=False, pace=0.0, replay=replay) as server,
            FaultProxy(server, counted) as proxy,
            Mix(proxy.url, network=proxy.network) as mix,
        ):
            server.script("go", _TURN)
            async with mix.open_stream(server.create_session()) as session:
                await session.ask("go")
                seen.append(session.statistics().bytes)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return seen[0] + 400  # 400: the head of the response, and the framing of chunks


@pytest.mark.parametrize("how", ["cut", "reset"])
@pytest.mark.parametrize(
    ("api", "replay"),
    [
        ("async", False),
        ("async", True),
        ("blocking", False),
        ("pipeline", False),
        ("pipeline-oldest", False),
    ],
)
def test_a_stream_that_is_cut_at_any_byte_loses_and_duplicates_nothing(
    api: Api, replay: bool, how: Literal["cut", "reset"]
) -> None:
    length = _record(api, replay=replay)
    step = _STEP * (1 if how == "cut" else 3)
    for at in range(random.randrange(step), length, step):
        scene = _Scene(api, replay=replay, cut=Cut(at, how=how))
        scene.run()
        where = f"cut at byte {at} of about {length}"
        assert scene.runs == 1, where
        assert scene.next == "Here.", where
        assert not isinstance(scene.result, errors.TrioMixError | None), f"{where}: {scene.result}"
        assert scene.result.text in _whole(api), where
        assert "".join(scene.deltas) == scene.result.text, where
        # The oldest servers do not store whether a turn is over.
        doubtful = api == "pipeline-oldest" and scene.result.recovered
        assert scene.result.incomplete is doubtful, where


def _whole(api: Api) -> tuple[str, ...]:
    """Return the texts that a whole reply can have.

    The oldest servers send only the text of the last round. They store those of the others as well,
    which are read after a lost connection.
    """
    last = _WHOLE.removeprefix("I look. ")
    return (_WHOLE, last) if api == "pipeline-oldest" else (_WHOLE,)


@pytest.mark.parametrize("direction", ["up", "down"])
@pytest.mark.parametrize("api", ["async", "blocking", "pipeline", "pipeline-oldest"])
def test_a_post_that_is_cut_at_any_byte_runs_once(
    api: Api, direction: Literal["up", "down"]
) -> None:
    length = 700
    for at in range(random.randrange(_STEP), length, _STEP):
        scene = _Scene(api, replay=False, cut=Cut(at, direction), how="send")
        scene.run()
        where = f"the POST was cut {direction} at byte {at}"
        assert scene.runs == 1, f"{where}: {scene.result!r}"
        assert scene.next == "Here.", where
        assert not isinstance(scene.result, errors.TrioMixError | None), f"{where}: {scene.result}"
        assert scene.result.text in _whole(api), where


@pytest.mark.parametrize("api", ["async", "blocking", "pipeline"])
def test_a_subscriber_receives_a_gap_where_events_may_be_missing(api: Api) -> None:
    gaps: list[ev.Event] = []

    async def main() -> None:
        async with (
            MixServer(api, listen=False, pace=0.0) as server,
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(session_id := server.create_session()) as session,
            session.subscribe() as everything,
        ):
            await session.ask("hello")
            await server.drop_streams(session_id)
            await session.ask("hello")
            async for event in everything:
                if isinstance(event, ev.StreamGapEvent):
                    gaps.append(event)
                    break

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert gaps
