"""A file's content as it comes: read piece by piece, whole, or into a file.

What it knows: how a body is read, and how a file is written so that it is whole or not there.
What it must never know: what the file holds.

Rules:

1. A download into a file goes to a new file beside it, which takes its name when all has come, in
   one step. Whatever goes wrong, and on cancellation, that new file is deleted and what stood at
   the path before is untouched.
2. Only the socket is timed: each read by the call's time limit, never the consumer.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

import trio

from trio_mix._public import public
from trio_mix._rest._file_upload import report
from trio_mix._rest._retry import renewed
from trio_mix._rest._tables._files import GET_FILE
from trio_mix.errors import ConfigurationError, TransportError

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from types import TracebackType
    from typing import Self

    from trio_mix._rest._call import Call, OpenedResponse
    from trio_mix._rest._core import MixCore
    from trio_mix._rest._file_upload import Progress
    from trio_mix._rest._options import RequestOptions

__all__ = ["FileRequest", "FileStream"]

_ANYTHING: Final = {"accept": "*/*"}

_CLEANUP_TIMEOUT: Final = 10.0


@public("trio_mix.resources")
@final
class FileStream:
    """A file's content: iterate it for pieces of bytes, or `read` it whole.

    Attributes:
      size: the length in bytes, ``None`` where the server does not say it.
      content_type: the media type, ``""`` where the server does not say it.
    """

    def __init__(self, opened: OpenedResponse, timeout: float | None) -> None:
        self._opened = opened
        self._timeout = timeout
        self._busy = False
        self._ended = False
        headers = opened.stream.headers
        length = headers.get("content-length", "")
        self.size: int | None = int(length) if length.isascii() and length.isdigit() else None
        self.content_type: str = headers.get("content-type", "")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return the next bytes, at least one.

        Cancelled, it loses none, but on a caller's own ``http_client`` that breaks the connection.

        Raises:
          ConnectionFailed: the connection was cut before the end.
          RequestTimeout: nothing came in time.
          trio.BusyResourceError: another task is reading.
        """
        if self._busy:
            raise trio.BusyResourceError("another task is reading this file")
        self._busy = True
        try:
            if self._ended:
                await trio.lowlevel.checkpoint()
                raise StopAsyncIteration
            try:
                piece = await self._opened.stream.receive(self._timeout)
            except TransportError as error:
                self._ended = True
                raise renewed(error, self._opened.request) from error.__cause__
            if not piece:
                self._ended = True
                raise StopAsyncIteration
            return piece
        finally:
            self._busy = False

    async def read(self) -> bytes:
        """Return all that is still to come, in memory."""
        return b"".join([piece async for piece in self])

    async def aclose(self) -> None:
        """Close the connection; shielded and bounded, and no harm if done again."""
        self._ended = True
        await self._opened.stream.aclose()

    async def __aenter__(self) -> Self:
        try:
            await trio.lowlevel.checkpoint()
        except BaseException:  # whoever is not let in is not asked to close
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


@public("trio_mix.resources")
@final
class FileRequest:
    """A file that is still to be asked for.

    ``await`` it for all of its bytes, tried again as a whole when the connection is cut; or enter
    it with ``async with`` for a `FileStream`, where only getting to the first byte is tried again.
    """

    def __init__(
        self, core: MixCore, values: Mapping[str, object], options: RequestOptions | None
    ) -> None:
        self._core = core
        self._values = values
        self._options = options
        self._stream: FileStream | None = None

    def __await__(self) -> Generator[Any, Any, bytes]:
        return self._read().__await__()

    async def __aenter__(self) -> FileStream:
        call = await self._prepare()
        opened = await self._core.open(call, _ANYTHING)
        self._stream = FileStream(opened, call.timeout)
        return self._stream

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        stream, self._stream = self._stream, None
        if stream is None:
            await trio.lowlevel.checkpoint()
        else:
            await stream.aclose()

    async def save(self, path: str | os.PathLike[str], progress: Progress | None) -> Path:
        """Write the file to a path (rule 1), tried again as a whole.

        Raises:
          ConfigurationError: the path is a folder, or in none.
          OSError: the file cannot be written.
        """
        call = await self._prepare()
        target = trio.Path(os.fspath(path))
        if await target.is_dir() or not await target.parent.is_dir():
            raise ConfigurationError(
                f"files.download(to={str(target)!r}) must name a file in a folder that exists"
            )

        async def once() -> None:
            opened = await self._core.open_once(call, _ANYTHING)
            async with FileStream(opened, call.timeout) as stream:
                await _write(stream, target, progress)

        await call.retry.run(once)
        return Path(target)

    async def _read(self) -> bytes:
        call = await self._prepare()

        async def once() -> bytes:
            opened = await self._core.open_once(call, _ANYTHING)
            async with FileStream(opened, call.timeout) as stream:
                return await stream.read()

        return await call.retry.run(once)

    async def _prepare(self) -> Call:
        await trio.lowlevel.checkpoint()
        return self._core.prepare(GET_FILE, self._values, self._options)


async def _write(stream: FileStream, target: trio.Path, progress: Progress | None) -> None:
    """Write to a new file, and give it the target's name when it is whole."""
    part = target.with_name(f".{target.name[:100]}.{secrets.token_hex(8)}.part")
    try:
        async with await part.open("xb") as file:
            done = 0
            await report(progress, 0, stream.size)
            async for piece in stream:
                await file.write(piece)
                done += len(piece)
                await report(progress, done, stream.size)
        await part.replace(target)
    except BaseException:
        with (
            trio.CancelScope(shield=True, deadline=trio.current_time() + _CLEANUP_TIMEOUT),
            contextlib.suppress(OSError),
        ):
            await part.unlink(missing_ok=True)
        raise
