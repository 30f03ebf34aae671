"""Register and run the causes of errors, each with a bundled server in memory and its client."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs
import trio
from trio.testing import MockClock

from trio_mix import Mix, ReconnectPolicy, RetryConfig
from trio_mix.testing import MemoryNetwork, MixServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from trio_mix.testing import MemoryStream

ONCE: Final = RetryConfig(strategy="none")
HALF_A_MINUTE: Final = ReconnectPolicy(max_elapsed_time=30)


@attrs.frozen
class Stage:
    """The objects for a cause: a server, a client without retries, a session."""

    server: MixServer
    mix: Mix
    session_id: str
    folder: Path
    nursery: trio.Nursery
    """For a task that runs during the cause."""

    def silent(self, **settings: Any) -> Mix:
        """Return a client of a server that accepts connections and never responds."""
        self._kept.clear()
        network = MemoryNetwork(self._keep)
        return Mix(self.server.url, network=network, retries=ONCE, **settings)

    _kept: list[MemoryStream] = attrs.field(factory=list, init=False)

    def _keep(self, stream: MemoryStream) -> bool:
        self._kept.append(stream)
        return True


@attrs.frozen(kw_only=True)
class Cause:
    """One way to cause an error, and the parts that its text must contain."""

    error: type[Exception]
    happens: str
    """The description of the cause on the page; empty: the page does not list it."""
    operation: str
    """The name of the operation in the text."""
    target: str
    """The name of the target in the text."""
    remedy: str
    """The beginning of the remedy in the text."""
    server: dict[str, Any]
    client: dict[str, Any]
    real_clock: bool
    run: Callable[[Stage], Awaitable[object]]

    @property
    def name(self) -> str:
        """The name of the cause in test reports."""
        return f"{self.error.__name__}-{self.run.__name__}"


CAUSES: Final[list[Cause]] = []


def cause(
    error: type[Exception],
    happens: str,
    *,
    operation: str,
    target: str,
    remedy: str,
    server: dict[str, Any] | None = None,
    client: dict[str, Any] | None = None,
    real_clock: bool = False,
) -> Callable[[Callable[[Stage], Awaitable[object]]], Callable[[Stage], Awaitable[object]]]:
    """Register a function as a cause of an error."""

    def note(run: Callable[[Stage], Awaitable[object]]) -> Callable[[Stage], Awaitable[object]]:
        CAUSES.append(
            Cause(
                error=error,
                happens=happens,
                operation=operation,
                target=target,
                remedy=remedy,
                server=server or {},
                client=client or {},
                real_clock=real_clock,
                run=run,
            )
        )
        return run

    return note


def happen(cause: Cause, folder: Path) -> Exception | None:
    """Run a cause, and return the exception."""
    clock = None if cause.real_clock else MockClock(autojump_threshold=0)
    return trio.run(partial(_happen, cause, folder), clock=clock)


async def _happen(cause: Cause, folder: Path) -> Exception | None:
    with trio.fail_after(10_000 if not cause.real_clock else 30):
        async with (
            MixServer(**{"listen": False, "pace": 0, **cause.server}) as server,
            Mix(server.url, **{"network": server.network, "retries": ONCE, **cause.client}) as mix,
            trio.open_nursery() as nursery,
        ):
            session_id = server.create_session(session_id="session-1")
            try:
                await cause.run(Stage(server, mix, session_id, folder, nursery))
            except Exception as error:  # noqa: BLE001 - any exception is the result
                return error
            finally:
                nursery.cancel_scope.cancel()
    return None


def text_of(error: Exception, folder: Path) -> str:
    """Return the text of an error for the page, with normalised addresses and numbers."""
    text = str(error).replace("http://mix.test", "http://localhost:8088")
    text = text.replace(str(folder), "/srv")
    text = re.sub(r"\(\d+ (connection attempts in )[\d.]+ s\)", r"(7 \g<1>30.0 s)", text)
    text = re.sub(r"for [\d.]+ s there was", "for 60 s there was", text)
    text = re.sub(r"\(process \d+\)", "(process 4711)", text)
    return re.sub(r"(127\.0\.0\.1(?::|', ))\d+", r"\g<1>9222", text)
