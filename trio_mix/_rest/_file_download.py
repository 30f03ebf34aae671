"""The content of a file of a session: read in pieces, read whole, or written to a path.

Rules:

1. A download to a path writes a new file beside it, which is renamed when it is complete, in one
   step. On any failure, and on cancellation, the new file is deleted and an older file at the path
   is unchanged.
2. The call's timeout applies to each read of the socket, not to the consumer's processing.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final, final

import trio

from trio_mix._public import public
from trio_mix._rest._file_upload import report
from trio_mix._rest._opened_response import open_once, open_response
from trio_mix._rest._request import BodyStream, Request
from trio_mix._rest._responses import CATCH_ALL, check_not_catch_all, may_be_catch_all
from trio_mix._rest._retry import renewed
from trio_mix._usage import check_callback, check_trio
from trio_mix.errors import ConfigurationError, TransportError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from trio_mix._rest._call import Call
    from trio_mix._rest._caller import Caller
    from trio_mix._rest._file_upload import Progress
    from trio_mix._rest._opened_response import OpenedResponse
    from trio_mix._rest._operation import Operation
    from trio_mix._rest._options import RequestOptions

_ANYTHING: Final = {"accept": "*/*"}

_CLEANUP_TIMEOUT: Final = 10.0


@public("trio_mix.resources")
@final
class FileStream(BodyStream):
    """A file's content: iterate it for pieces of bytes, or `read` it whole.

    Attributes:
      size: the length in bytes, ``None`` if the server does not send it.
      content_type: the media type, ``""`` if the server does not send it.
    """

    def __init__(self, opened: OpenedResponse, call: Call) -> None:
        self._opened = opened
        self._timeout = call.timeout
        self._max_body = call.max_body
        self._busy = False
        self._ended = False
        self._begun = b""
        headers = opened.stream.headers
        length = headers.get("content-length", "")
        self.size: int | None = int(length) if length.isascii() and length.isdigit() else None
        self.content_type: str = headers.get("content-type", "")
        self._may_be_catch_all = may_be_catch_all(headers)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """Return the next bytes, at least one.

        Cancellation loses no bytes, but on a caller's own ``http_client`` it breaks the connection.

        Raises:
          NoSuchOperation: the server is one of the oldest, which have no files.
          ConnectionFailed: the connection was cut before the end.
          RequestTimeout: no byte arrived in time.
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
                piece = await self._receive()
            except TransportError as error:
                self._ended = True
                raise renewed(error, self._opened.request) from error.__cause__
            if not piece:
                self._ended = True
                raise StopAsyncIteration
            return piece
        finally:
            self._busy = False

    async def _receive(self) -> bytes:
        """Return the next bytes; the first ones once they show that they are the file's."""
        piece = await self._opened.stream.receive(self._timeout)
        while self._may_be_catch_all:
            self._begun += piece
            if piece and len(self._begun) < len(CATCH_ALL) and CATCH_ALL.startswith(self._begun):
                piece = await self._opened.stream.receive(self._timeout)
                continue
            self._may_be_catch_all = False
            if self._begun.startswith(CATCH_ALL):
                check_not_catch_all(self._opened.received(self._begun))
            piece, self._begun = self._begun, b""
        return piece

    async def read(self) -> bytes:
        """Return the rest of the content, in memory.

        Raises:
          ResponseTooLarge: it is larger than `RequestOptions.max_body_size`, by default 64 MiB.
          ConnectionFailed: the connection was cut before the end.
          RequestTimeout: no byte arrived in time.
          trio.BusyResourceError: another task is reading.
        """
        content = io.BytesIO()  # copies nothing at the end
        too_large = self.size is not None and self.size > self._max_body
        if too_large:
            await trio.lowlevel.checkpoint()
        else:
            async for piece in self:
                content.write(piece)
                too_large = content.tell() > self._max_body
                if too_large:
                    break
        if too_large:
            await self.aclose()
            raise self._opened.too_large(self._max_body)
        return content.getvalue()

    async def aclose(self) -> None:
        """Close the connection. It is shielded and bounded; closing again does nothing."""
        self._ended = True
        await self._opened.stream.aclose()


@public("trio_mix.resources")
@final
class FileRequest(Request[bytes, FileStream]):
    """The request for a file, not made yet.

    ``await`` it for the whole content, retried as a whole if the connection is cut; or enter it
    with ``async with`` for a `FileStream`, which is retried only until the first byte arrives.
    """

    _entered_as = "async with mix.files.get(...) as file"

    def __init__(
        self,
        caller: Caller,
        operation: Operation[bytes],
        values: Mapping[str, object],
        options: RequestOptions | None,
    ) -> None:
        super().__init__()
        self._caller = caller
        self._operation = operation
        self._values = values
        self._options = options

    async def save(self, path: str | os.PathLike[str], progress: Progress | None) -> Path:
        """Write the file to a path (rule 1), retried as a whole.

        Raises:
          ConfigurationError: the path is a folder, a device or the like, its folder does not exist,
            or no file can have that name; or ``progress`` cannot be called with two arguments.
          OSError: the file cannot be written.
        """
        call = await self._prepare()
        if progress is not None:
            check_callback(progress, "files.download(progress=...)", 2)
        target = await _target(path)

        async def once() -> None:
            async with await self._open_once(call) as stream:
                await _write(stream, target, progress)

        await call.retry.run(once)
        return Path(target)

    async def _value(self) -> bytes:
        call = await self._prepare()

        async def once() -> bytes:
            async with await self._open_once(call) as stream:
                return await stream.read()

        return await call.retry.run(once)

    async def _open(self) -> FileStream:
        call = await self._prepare()
        return FileStream(await open_response(self._caller, call, _ANYTHING), call)

    async def _open_once(self, call: Call) -> FileStream:
        return FileStream(await open_once(self._caller, call, _ANYTHING), call)

    async def _prepare(self) -> Call:
        check_trio()
        await trio.lowlevel.checkpoint()
        return self._caller.prepare(self._operation, self._values, self._options)


async def _target(path: str | os.PathLike[str]) -> trio.Path:
    """Return the path of a download, if a file can be written there."""
    target = trio.Path(os.fspath(path))
    problem = ""
    try:
        os.fsencode(target)
        if not await target.parent.is_dir():
            problem = "its folder does not exist"
        elif not stat.S_ISREG((await target.stat()).st_mode):
            problem = "that is no regular file"  # a device would be replaced as well
    except FileNotFoundError:
        pass
    except ValueError as error:  # a NUL, or what the file system cannot encode
        problem = f"no file can have that name ({type(error).__name__})"
    if problem:
        raise ConfigurationError(
            f"files.download(to={str(target)!r}) must name a file in a folder that exists:"
            f" {problem}"
        )
    return target  # noqa: ASYNC910 - looking at the folder was one


async def _write(stream: FileStream, target: trio.Path, progress: Progress | None) -> None:
    """Write to a new file, and rename it to the target when it is complete."""
    # A name has at most 255 bytes, and a character up to four.
    part = target.with_name(f".{target.name[:50]}.{secrets.token_hex(8)}.part")
    try:
        file = await part.open("xb")
        try:
            done = 0
            await report(progress, 0, stream.size)
            async for piece in stream:
                await file.write(piece)
                done += len(piece)
                await report(progress, done, stream.size)
        finally:
            # Its own `async with` raises Cancelled in place of an exception under way.
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLEANUP_TIMEOUT):
                await file.aclose()
        await part.replace(target)
    except BaseException:
        with (
            trio.CancelScope(shield=True, deadline=trio.current_time() + _CLEANUP_TIMEOUT),
            contextlib.suppress(OSError),
        ):
            await part.unlink(missing_ok=True)
        raise
