"""Assertions whose failures show the timeline: what was sent, what was received, and when.

What it knows: what a server lets a test see; any iterator of events.
What it must never know: the client's classes. An expected event is told by its class or a function.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import trio

from trio_mix.testing._timeline import shorten

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Sequence

    from trio_mix.testing._log import Match, Observed
    from trio_mix.testing.server._server import MixServer

__all__ = ["assert_nothing_left", "assert_ran_once", "assert_requested", "expect_events"]

_T = TypeVar("_T")
Expected: TypeAlias = "type | Callable[[_T], bool]"


def assert_ran_once(server: Observed, message: Match, session_id: str | None = None) -> None:
    """Assert that the agent ran a message exactly once, whatever happened to connections.

    Args:
      server: the server.
      message: its very text, a compiled pattern that is searched in it, or a function of it.
      session_id: the session that counts; None: all of them.

    Raises:
      AssertionError: it ran never or more often; the timeline follows.
    """
    __tracebackhide__ = True
    runs = server.runs(message, session_id)
    if runs != 1:
        where = "" if session_id is None else f" in session {session_id}"
        often = "never ran" if runs == 0 else f"ran {runs} times"
        told = shorten(message) if isinstance(message, str) else repr(message)
        raise AssertionError(f"{told} {often}{where}, not once.{_timeline(server)}")


def assert_requested(server: Observed, method: str, path: str, times: int | None = None) -> None:
    """Assert that the server got requests.

    Args:
      server: the server.
      method: their method.
      path: what their path begins with.
      times: how many there were, 0 for none; None: at least one.

    Raises:
      AssertionError: there were more or less; the timeline follows.
    """
    __tracebackhide__ = True
    found = len(server.requests(method, path))
    if found != times if times is not None else not found:
        wanted = "at least once" if times is None else f"{times} times"
        raise AssertionError(
            f"{method} {path}… was requested {found} times, not {wanted}.{_timeline(server)}"
        )


async def assert_nothing_left(server: MixServer, *, within: float = 1.0) -> None:
    """Assert that a program that has ended left nothing on the server.

    That is: no stream is open, no turn runs, no browser is connected, and nothing has failed
    inside the server.

    Args:
      server: the server.
      within: seconds that it may take: a server learns of a closed connection a moment later.

    Raises:
      AssertionError: something is left; the timeline follows.

    A checkpoint; cancelled, it stops waiting.
    """
    __tracebackhide__ = True
    with trio.move_on_after(within):
        await server.wait_until(lambda: not _left(server))
        return
    await trio.lowlevel.checkpoint()
    left = ", ".join(_left(server))
    raise AssertionError(f"on the server there is still: {left}.{_timeline(server)}")


def _left(server: MixServer) -> list[str]:
    counts = {
        "open streams": server.open_streams,
        "running turns": server.running_turns,
        "connected browsers": len(server.browser_tunnels),
        "failures": len(server.failures),
    }
    return [f"{count} {what}" for what, count in counts.items() if count]


async def expect_events(
    source: AsyncIterable[_T],
    *expected: Expected[_T],
    within: float = 5.0,
    server: Observed | None = None,
) -> list[_T]:
    """Read events until all that are expected have come, in this order; others may come between.

    Args:
      source: a message, a subscription, or anything that is iterated with ``async for``. What comes
        after the last expected event stays in it.
      expected: what is expected: a class of events, or a function that says whether it is this one.
      within: seconds that it may take, on Trio's clock.
      server: the server whose timeline a failure shows as well.

    Returns:
      The expected events, in order.

    Raises:
      AssertionError: time was up, or the events ended; what was received follows.

    What the iteration itself raises comes out as it is, with a note of what was received.
    """
    __tracebackhide__ = True
    start = trio.current_time()
    received: list[tuple[float, _T, bool]] = []
    found: list[_T] = []
    why = f"did not come within {within:g} s"
    iterator = aiter(source)
    await trio.lowlevel.checkpoint()
    with trio.move_on_after(within):  # noqa: ASYNC912 - it reads, unless nothing is expected
        while len(found) < len(expected):
            try:
                event = await anext(iterator)
            except StopAsyncIteration:
                why = "did not come before the end"
                break
            except Exception as exc:
                exc.add_note(_received(received, start))
                raise
            hit = _is(expected[len(found)], event)
            received.append((trio.current_time(), event, hit))
            if hit:
                found.append(event)
    if len(found) < len(expected):
        missing = _names(expected[len(found) :])
        raise AssertionError(
            f"{missing} {why} (expected: {_names(expected)}).\n{_received(received, start)}"
            f"{'' if server is None else _timeline(server)}"
        )
    return found


def _is(expected: Expected[_T], event: _T) -> bool:
    return isinstance(event, expected) if isinstance(expected, type) else expected(event)


def _names(expected: Sequence[Expected[_T]]) -> str:
    return ", then ".join(map(_name, expected))


def _name(expected: Expected[_T]) -> str:
    name = getattr(expected, "__name__", "a function")
    if name != "<lambda>":
        return str(name)
    code = inspect.unwrap(expected).__code__
    return f"the lambda at line {code.co_firstlineno}"


def _received(received: Sequence[tuple[float, _T, bool]], start: float) -> str:
    if not received:
        return "Received: nothing."
    lines = [
        f"{time - start:10.3f} {'*' if hit else ' '} {event!r}" for time, event, hit in received
    ]
    return "\n".join(["Received (* as expected):", *lines])


def _timeline(server: Observed) -> str:
    return f"\nThe server's timeline (> received, < sent):\n{server.timeline}"
