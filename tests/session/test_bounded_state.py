"""The state of a stream does not grow with its messages, nor that of a client with its streams.

In memory, with the autojump clock.
"""

from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.support.event_makers import asked, done, says
from trio_mix import Mix, errors
from trio_mix._session import _services
from trio_mix._session._stored_messages import Rows, SessionHistory
from trio_mix._turns._router import TurnRouter
from trio_mix._turns._stored_rows import StoredRow
from trio_mix._turns._stored_turn import TurnOutcome
from trio_mix._turns._turn import Identity, Input
from trio_mix._turns._wire_traits import WireTraits
from trio_mix.testing import Fail, Hang, MixServer, Say, Turn

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_mix._turns._turn import Turn as RouterTurn
    from trio_mix.testing import Api

MANY = 10_000


def _containers(root: Any, seen: dict[int, str], path: str, sizes: dict[str, int]) -> None:
    """Note the length of every container that is reachable from an object of the library."""
    if id(root) in seen or len(path) > 200:
        return
    seen[id(root)] = path
    if isinstance(root, dict | set | list | tuple) or hasattr(root, "popleft"):
        sizes[path] = len(root)
        for item in list(root.values() if isinstance(root, dict) else root)[:50]:
            _containers(item, seen, f"{path}[]", sizes)
    elif type(root).__module__.startswith("trio_mix") and ".testing" not in type(root).__module__:
        slots = [s for c in type(root).__mro__ for s in getattr(c, "__slots__", ())]
        names = [*getattr(root, "__dict__", ()), *slots]
        for name in names:
            if name != "__weakref__" and not isinstance(root, type):
                child = getattr(root, name, None)
                _containers(child, seen, f"{path}.{name}", sizes)


def sizes_of(root: object) -> dict[str, int]:
    sizes: dict[str, int] = {}
    _containers(root, {}, "", sizes)
    return sizes


@pytest.mark.parametrize("api", ["async", "pipeline", "pipeline-oldest"])
async def test_the_state_of_a_stream_does_not_grow_with_its_messages(
    api: Api, autojump_clock: MockClock
) -> None:
    async with (
        MixServer(api, listen=False, pace=0.0, log_limit=100) as server,
        Mix(server.url, network=server.network) as mix,
        mix.open_stream(server.create_session(session_id="s")) as session,
    ):
        server.script("go", Turn(Say("ok")), Turn(Fail("it broke")), Turn(Say("ok")))
        rows = server._backend.live["s"].row.rows

        async def months(count: int) -> dict[str, int]:
            for _ in range(count):
                with contextlib.suppress(errors.AgentError):
                    await session.ask("go")
                del rows[:-20]
            return sizes_of(session)

        await months(300)
        before = await months(1)
        assert len(before) > 10
        after = await months(400)
        grown = {
            path: (before.get(path, 0), size)
            for path, size in after.items()
            if size > max(before.get(path, 0) * 2, 40) and size > 512
        }
        # These have limits of their own.
        limited = [path for path in grown if path.endswith(("known", "._named", "._unnamed"))]
        assert not grown.keys() - set(limited)


def _turn(text: str, *, bound: str | None = None) -> RouterTurn:
    turn = TurnRouter(WireTraits(ids=True, answers=False)).register(text)
    turn.identity = Identity(user_message_id=bound)
    return turn


class _Rows:
    """Stored messages; counts how often they are read."""

    none_kept = False

    def __init__(self) -> None:
        self.list: list[StoredRow] = []
        self.readings = 0
        self.down = False

    async def rows(self, _session_id: str) -> Rows:
        self.readings += 1
        await trio.lowlevel.checkpoint()
        if self.down:
            raise errors.ConnectionFailed(
                "down", request=errors.RequestInfo("GET", "http://x", "sessions.export"), sent=False
            )
        return Rows(self.list)


async def test_the_history_of_ten_thousand_messages_is_bounded_and_sufficient() -> None:
    rows = _Rows()
    stored = SessionHistory(rows, "s")  # type: ignore[arg-type]
    router = TurnRouter(WireTraits(ids=True, answers=False))
    history = stored.history
    await stored.before(router)
    for number in range(MANY):
        rows.list.append(StoredRow(id=f"u{number}", role="user", text="go"))
        rows.list.append(StoredRow(id=f"a{number}", role="assistant", text="ok", finish="end_turn"))
        history.count(_turn("go", bound=f"u{number}"), answered=False, outcome_open=False)
    assert history.known is not None
    assert len(history.known) <= 1000
    assert history.judge(rows.list, _turn("go")).outcome is TurnOutcome.ABSENT
    rows.list.append(StoredRow(id="new", role="user", text="go"))
    verdict = history.judge(rows.list, _turn("go"))
    assert (verdict.outcome, verdict.user_message_id) == (TurnOutcome.UNFINISHED, "new")
    assert rows.readings == 1


async def test_the_number_of_messages_with_unknown_outcome_is_bounded() -> None:
    rows = _Rows()
    stored = SessionHistory(rows, "s")  # type: ignore[arg-type]
    router = TurnRouter(WireTraits(ids=True, answers=False))
    history = stored.history
    for number in range(2000):
        await stored.before(router)
        turn = _turn(f"message {number} " + "x" * 1000)
        history.count(turn, answered=False, outcome_open=True)
    await stored.before(router)
    assert len(history.earlier) <= 50


@pytest.mark.parametrize("size", [10, 100_000])
async def test_the_earlier_texts_are_bounded_while_no_message_can_be_read(size: int) -> None:
    rows = _Rows()
    stored = SessionHistory(rows, "s")  # type: ignore[arg-type]
    router = TurnRouter(WireTraits(ids=True, answers=False))
    history = stored.history
    await stored.before(router)
    rows.down = True
    for number in range(2000):
        await stored.before(router)
        turn = _turn(f"message {number} " + "x" * size)
        history.count(turn, answered=False, outcome_open=False)
    assert len(history.earlier) <= 400
    assert sum(len(earlier.text) for earlier in history.earlier) <= 2_200_000


def test_ids_of_old_turns_are_forgotten() -> None:
    router = TurnRouter(WireTraits(ids=True, answers=False))
    for number in range(MANY):
        turn = router.register("go")
        router.apply(turn, Input.SENDING)
        router.apply(turn, Input.ACCEPTED)
        router.route([asked(f"u{number}", "go"), says("ok", f"a{number}")])
        router.route([done(f"a{number}", "ok")])
        assert turn.over
    assert len(router._owners._messages) <= 512


@pytest.mark.parametrize("api", ["async", "pipeline"])
async def test_the_state_of_a_client_does_not_grow_with_its_streams(
    api: Api, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_services, "_TURNS_REMEMBERED", 10)
    async with (
        MixServer(api, listen=False, pace=0.0, log_limit=10) as server,
        Mix(server.url, network=server.network) as mix,
    ):
        server.script("hang", Turn(Say("so far"), Hang()))

        async def use(count: int) -> None:
            for _ in range(count):
                async with mix.open_session() as session, session.send("hang") as message:
                    await message.__anext__()

        await use(20)
        gc.collect()
        before, gc_before = sizes_of(mix), len(gc.get_objects())
        await use(100)
        gc.collect()
        after, gc_after = sizes_of(mix), len(gc.get_objects())
    assert {path for path, size in after.items() if size > before.get(path, 0) + 10} == set()
    assert gc_after - gc_before < 100 * 20  # twenty objects are fewer than a stream has
