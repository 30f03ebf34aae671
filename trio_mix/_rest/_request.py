"""Requests that are awaited for a value, or entered for a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import trio

from trio_mix._usage import AsyncScope, check_trio

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType
    from typing import Self


class _Closeable(Protocol):
    async def aclose(self) -> None: ...


T_co = TypeVar("T_co", covariant=True)
S = TypeVar("S", bound=_Closeable)


class Request(AsyncScope, Generic[T_co, S]):
    """A request that is not made yet: ``await`` it for its value, or ``async with`` for a stream.

    Entered, it closes the stream on the way out. The two are subclasses' to define.
    """

    def __init__(self) -> None:
        self._stream: S | None = None

    async def _value(self) -> T_co:
        """Make the request and return its value."""
        raise NotImplementedError

    async def _open(self) -> S:
        """Make the request and return its stream, which the caller must close."""
        raise NotImplementedError

    def __await__(self) -> Generator[Any, Any, T_co]:
        check_trio()
        return self._value().__await__()

    async def __aenter__(self) -> S:
        check_trio()
        self._stream = await self._open()
        return self._stream

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        stream, self._stream = self._stream, None
        if stream is None:
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            await stream.aclose()


class BodyStream:
    """The base of the streams that read one response; ``async with`` closes them."""

    async def aclose(self) -> None:
        """Close the connection. It is shielded and bounded; closing again does nothing."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        try:
            await trio.lowlevel.checkpoint()
        except BaseException:  # a scope that is not entered is not left either
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
