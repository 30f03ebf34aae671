"""A multipart form with one file in it, made piece by piece.

Rules:

1. No more than one piece of the file is in memory at a time.
2. If the length is known, it is sent first, and exactly that many bytes follow: a file that grows
   meanwhile is cut there, and a file that shrinks is an error.
3. A stream can be read once, so its form can be made again only before the first read; the
   rules for retries ensure that.
"""

from __future__ import annotations

import contextlib
import mimetypes
import os
import secrets
import stat
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING, Final, TypeAlias, cast

import attrs
import trio

from trio_mix._http._body_pieces import CLEANUP_TIMEOUT, BodyPieces
from trio_mix._usage import call, check_callback, check_trio
from trio_mix.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

FileSource: TypeAlias = "str | os.PathLike[str] | bytes | AsyncIterable[bytes]"
"""A path, a file's content, or a stream of it as `trio.abc.ReceiveStream`."""

Progress: TypeAlias = "Callable[[int, int | None], Awaitable[None] | None]"
"""A sync or async function of the bytes transferred so far and the total, or ``None``."""

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

    async def body(self) -> AsyncGenerator[bytes]:  # noqa: ASYNC900, ASYNC911 - the sending closes it
        """Yield the form's bytes, from the beginning. The sending closes the generator."""
        done, size = 0, self._plan.size
        await report(self._progress, done, size)
        yield self._head
        async with contextlib.aclosing(self._pieces()) as pieces:
            async for piece in pieces:
                done += len(piece)
                await report(self._progress, done, size)
                yield piece
        yield self._tail

    async def _pieces(self) -> AsyncGenerator[bytes]:  # noqa: ASYNC900, ASYNC911 - `body` closes it
        source = self._plan.source
        if isinstance(source, bytes):
            for at in range(0, len(source), PIECE):
                await trio.lowlevel.checkpoint()
                yield source[at : at + PIECE]
        elif isinstance(source, str):
            file = await trio.open_file(source, "rb")
            try:
                left = cast("int", self._plan.size)
                while left:
                    piece = await file.read(min(PIECE, left))
                    if not piece:
                        raise ConfigurationError(
                            f"files.upload(file={source!r}): the file became {left} bytes shorter"
                            " meanwhile"
                        )
                    left -= len(piece)
                    yield piece
            finally:  # shielded: a cancellation must not replace the exception under way
                with trio.CancelScope(shield=True, deadline=trio.current_time() + CLEANUP_TIMEOUT):
                    await file.aclose()
        else:
            async with contextlib.aclosing(BodyPieces(source)) as pieces:
                async for piece in pieces:
                    if not isinstance(piece, bytes | bytearray | memoryview):
                        raise ConfigurationError(
                            "files.upload(file=...): the stream yielded"
                            f" {type(piece).__name__}, not bytes"
                        )
                    if piece:
                        yield bytes(piece)


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
