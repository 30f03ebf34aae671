"""Assertions whose failures show the server's timeline or the events received."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import trio

from trio_mix.testing._timeline import deviations_text, shorten, timeline_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Sequence

    from trio_mix.testing._log import Match, Observed
    from trio_mix.testing.server._server import MixServer

_T = TypeVar("_T")
Expected: TypeAlias = "type | Callable[[_T], bool]"


def assert_ran_once(server: Observed, message: Match, session_id: str | None = None) -> None:
    """Assert that the agent ran a message exactly once.

    Args:
      server: the server.
      message: its exact text, a compiled pattern to search for, or a function of the text.
      session_id: the session; None: all sessions.

    Raises:
      AssertionError: it never ran or ran more often; the text ends with the timeline.
    """
    __tracebackhide__ = True
    runs = server.runs(message, session_id)
    if runs != 1:
        where = "" if session_id is None else f" in session {session_id}"
        often = "never ran" if runs == 0 else f"ran {runs} times"
        shown = shorten(message) if isinstance(message, str) else repr(message)
        raise AssertionError(f"{shown} {often}{where}, not once.{_timeline(server)}")


def assert_requested(server: Observed, method: str, path: str, times: int | None = None) -> None:
    """Assert that the server got requests.

    Args:
      server: the server.
      method: the requests' method.
      path: the beginning of the requests' path.
      times: the number of requests, 0 for none; None: at least one.

    Raises:
      AssertionError: the number differs; the text ends with the timeline.
    """
    __tracebackhide__ = True
    found = len(server.requests(method, path))
    if found != times if times is not None else not found:
        wanted = "at least once" if times is None else f"{times} times"
        raise AssertionError(
            f"{method} {path}… was requested {found} times, not {wanted}.{_timeline(server)}"
        )


def assert_as_scripted(server: MixServer) -> None:
    """Assert that a script matched every message that ran, and that every script was used.

    A server with ``strict=True`` asserts it when it is left, and the fixture ``mix_server`` after
    the test.

    Raises:
      AssertionError: a message had no script, or a script no message; the text ends with the
        timeline.
    """
    __tracebackhide__ = True
    if server.deviations:
        raise AssertionError(deviations_text(server.deviations, server.timeline))


async def assert_nothing_left(server: MixServer, *, within: float = 1.0) -> None:
    """Assert that a program that has ended left nothing running on the server.

    No stream is open, no turn runs, no browser is connected, and nothing has failed inside the
    server.

    Args:
      server: the server.
      within: seconds to wait; a server notices a closed connection a little later.

    Raises:
      AssertionError: something is left; the text ends with the timeline.

    A checkpoint.
    """
    __tracebackhide__ = True
    with trio.move_on_after(within):
        await server.wait_until(lambda: not _left(server))
        return
    await trio.lowlevel.checkpoint()
    left = ", ".join(_left(server))
    raise AssertionError(f"still on the server: {left}.{_timeline(server)}")


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
    """Read events until all expected ones were received, in this order; others may come between.

    Args:
      source: a message, a subscription, or any other async iterable. The events after the last
        expected one are not read.
      expected: for each expected event its class, or a function that returns whether this is it.
      within: the time limit in seconds, on Trio's clock.
      server: the server whose timeline a failure shows too.

    Returns:
      The expected events, in order.

    Raises:
      AssertionError: the time limit was reached, or the events ended; the text lists what was
        received.

    What the iteration itself raises is passed on, with a note that lists what was received.
    """
    __tracebackhide__ = True
    for each in expected:
        if not callable(each):
            raise TypeError(f"expect_events() takes classes of events and functions, not {each!r}")
    start = trio.current_time()
    received: list[tuple[float, _T, bool]] = []
    found: list[_T] = []
    why = f"was not received within {within:g} s"
    iterator = aiter(source)
    await trio.lowlevel.checkpoint()
    with trio.move_on_after(within):  # noqa: ASYNC912 - it reads, unless no event is expected
        while len(found) < len(expected):
            try:
                event = await anext(iterator)
            except StopAsyncIteration:
                why = "was not received before the end"
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
    return "\n".join(["Received (* expected):", *lines])


def _timeline(server: Observed) -> str:
    return timeline_text(server.timeline)
