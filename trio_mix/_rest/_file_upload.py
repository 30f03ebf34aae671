"""A multipart form with one file in it, made piece by piece.

Rules:

1. No more than one piece of the file is in memory at a time.
2. If the length is known, it is sent first, and exactly that many bytes follow: a file that grows
   meanwhile is cut there, and a file that shrinks is an error.
3. A stream can be read once, so its form can be made again only before the first read; the
   rules for retries ensure that.
"""

from __future__ import annotations

import mimetypes
import os
import secrets
import stat
from collections.abc import AsyncIterable, AsyncIterator
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, cast

import attrs
import trio

from trio_mix._usage import call, check_callback, check_trio
from trio_mix.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

FileSource: TypeAlias = "str | os.PathLike[str] | bytes | AsyncIterable[bytes]"
"""A path, a file's content, or a stream of it as `trio.abc.ReceiveStream`."""

Progress: TypeAlias = "Callable[[int, int | None], Awaitable[None] | None]"
"""A sync or async function of the bytes transferred so far and the total, or ``None``."""

_CLOSE_TIMEOUT: Final = 5.0
PIECE: Final = 256 * 1024
"""The size of one read from a file, in bytes."""


async def report(progress: Progress | None, done: int, total: int | None) -> None:
    """Report the progress of a transfer to the caller."""
    await trio.lowlevel.checkpoint()
    if progress is not None:
        await call(progress, done, total)


@attrs.frozen
class _Plan:
    """The source of an upload, checked before anything is sent."""

    source: str | bytes | AsyncIterable[bytes]
    filename: str
    content_type: str
    size: int | None


class Upload:
    """The upload of a file: the form's headers, and a body for each try.

    Use `Upload.plan` to make one.
    """

    def __init__(self, plan: _Plan, progress: Progress | None) -> None:
        self._plan = plan
        self._progress = progress
        self._body: _Body | None = None
        boundary = f"trio-mix-{secrets.token_hex(16)}"
        # As browsers quote it; the file name is the only text here that the caller chose.
        quoted = plan.filename.replace('"', "%22")
        self._head = (
            f"--{boundary}\r\n"
            f'Content-Disposition: form-data; name="file"; filename="{quoted}"\r\n'
            f"Content-Type: {plan.content_type}\r\n\r\n"
        ).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
        if plan.size is not None:
            headers["content-length"] = str(len(self._head) + plan.size + len(self._tail))
        self.headers: Mapping[str, str] = headers

    @classmethod
    async def plan(
        cls,
        source: FileSource,
        *,
        filename: str | None,
        content_type: str | None,
        progress: Progress | None,
    ) -> Upload:
        """Check the source of an upload, and find out its name, type and size.

        Raises:
          ConfigurationError: the source, the name or the type cannot be used.
          UsageError: the caller does not run in Trio.
        """
        check_trio()
        await trio.lowlevel.checkpoint()
        if progress is not None:
            check_callback(progress, "files.upload(progress=...)", 2)
        size: int | None = None
        if isinstance(source, str | os.PathLike):
            source = os.fspath(source)
            size = await _file_size(source)
            filename = os.path.basename(source) if filename is None else filename
        elif isinstance(source, bytes | bytearray | memoryview):
            source = bytes(source)
            size = len(source)
        elif not isinstance(source, AsyncIterable):
            raise ConfigurationError(
                "files.upload(file=...) must be a path, bytes or an async iterable of bytes,"
                f" not {type(source).__name__}"
            )
        _check_name(filename)
        name = cast("str", filename)
        content_type = content_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
        if not content_type.isascii() or not content_type.isprintable():
            raise ConfigurationError(
                f"files.upload(content_type={content_type!r}) is no media type"
            )
        return cls(_Plan(source, name, content_type, size), progress)

    @property
    def repeatable(self) -> bool:
        """Whether the file can be read again from its beginning."""
        return isinstance(self._plan.source, str | bytes)

    def body(self) -> AsyncIterable[bytes]:
        """Return the form's bytes, from the beginning."""
        self._body = _Body(self._head, self._tail, self._plan, self._progress)
        return self._body

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._body is None:
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            await self._body.aclose()


class _Body(AsyncIterator[bytes]):
    """The bytes of one form. No generator, because a cancelled send would leave it open."""

    def __init__(self, head: bytes, tail: bytes, plan: _Plan, progress: Progress | None) -> None:
        self._head = head
        self._tail = tail
        self._plan = plan
        self._progress = progress
        self._done = 0
        self._stage = "head"
        self._file: Any = None  # the type of trio.open_file's result has no public name
        self._stream: AsyncIterator[bytes] | None = None

    async def __anext__(self) -> bytes:
        if self._stage == "head":
            self._stage = "file"
            await report(self._progress, 0, self._plan.size)
            return self._head
        if self._stage == "file":
            piece = await self._piece()
            if piece:
                self._done += len(piece)
                await report(self._progress, self._done, self._plan.size)
                return piece
            self._stage = "end"
            await self.aclose()
            return self._tail
        raise StopAsyncIteration

    async def _piece(self) -> bytes:
        source = self._plan.source
        if isinstance(source, bytes):
            await trio.lowlevel.checkpoint()
            return source[self._done : self._done + PIECE]
        if isinstance(source, str):
            return await self._piece_of_file(source)
        if self._stream is None:
            self._stream = aiter(source)
        async for piece in self._stream:
            if not isinstance(piece, bytes | bytearray | memoryview):
                raise ConfigurationError(
                    f"files.upload(file=...): the stream yielded {type(piece).__name__}, not bytes"
                )
            if piece:  # an empty piece would end the body
                return bytes(piece)
        return b""

    async def _piece_of_file(self, path: str) -> bytes:
        if self._file is None:
            self._file = await trio.open_file(path, "rb")
        left = cast("int", self._plan.size) - self._done
        piece: bytes = await self._file.read(min(PIECE, left))
        if not piece and left:
            raise ConfigurationError(
                f"files.upload(file={path!r}): the file became {left} bytes shorter meanwhile"
            )
        return piece

    async def aclose(self) -> None:
        """Close the file; shielded and bounded. A caller's stream stays open."""
        file, self._file = self._file, None
        if file is not None:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _CLOSE_TIMEOUT):
                await file.aclose()
        await trio.lowlevel.cancel_shielded_checkpoint()


async def _file_size(path: str) -> int:
    try:
        found = await trio.Path(path).stat()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"files.upload(file={path!r}) cannot be read: {error}") from error
    if not stat.S_ISREG(found.st_mode):
        raise ConfigurationError(f"files.upload(file={path!r}) is no regular file")
    return found.st_size


def _check_name(filename: object) -> None:
    if not isinstance(filename, str) or not filename:
        raise ConfigurationError("files.upload(filename=...) is required for bytes and streams")
    if any(bad in filename for bad in "\r\n\0"):
        raise ConfigurationError(
            f"files.upload(filename={filename!r}) has a line break or NUL, which no header may have"
        )
    try:
        filename.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(
            f"files.upload(filename={filename!r}) holds what UTF-8 cannot encode"
        ) from None
