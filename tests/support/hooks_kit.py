"""Helpers of the hook tests: hooks that record their calls, and an open stream."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import trio

from trio_mix import Hooks, Mix

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from trio_mix import SessionStream
    from trio_mix.testing import MixServer

T = TypeVar("T")

NAMES = tuple(field.name for field in attrs.fields(Hooks))
SECRET = "s3cr3t-value"


class HookCalls:
    """The calls of hooks, in order: the name of each hook and its argument."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.all: list[tuple[str, Any]] = []

    def hooks(self, *, slow: bool = False) -> Hooks:
        return Hooks(**{name: self._hook(name, slow=slow) for name in NAMES})

    def _hook(self, name: str, *, slow: bool) -> Callable[[Any], Awaitable[None] | None]:
        def at_once(context: Any) -> None:
            self.all.append((name, context))

        async def in_a_while(context: Any) -> None:
            self.all.append((name, context))
            await trio.lowlevel.checkpoint()

        return in_a_while if slow else at_once

    def names(self, beginning: str = "") -> list[str]:
        return [name for name, _ in self.all if name.startswith(beginning)]

    def of(self, kind: type[T]) -> list[T]:
        return [context for _, context in self.all if isinstance(context, kind)]


@asynccontextmanager
async def scene(server: MixServer, hooks: Hooks | list[Hooks]) -> AsyncIterator[SessionStream]:
    """Open the stream of a new session, in memory."""
    async with (
        Mix(server.url, network=server.network, hooks=hooks) as mix,
        mix.open_stream(server.create_session()) as session,
    ):
        yield session
