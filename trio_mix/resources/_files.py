"""The files of a session.

What it knows: the arguments of these operations. What it must never know: how a call is made.
"""

# ruff: noqa: A002  # ``id`` is the API's own name

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix._public import public
from trio_mix._rest._file_download import FileRequest
from trio_mix._rest._file_upload import Upload
from trio_mix._rest._tables import _files as op
from trio_mix.resources._base import Resource, implements

if TYPE_CHECKING:
    import builtins
    import os
    from pathlib import Path

    from trio_mix._rest._file_upload import FileSource, Progress
    from trio_mix._rest._options import RequestOptions
    from trio_mix.models import FileInfo

__all__ = ["Files"]


@public("trio_mix.resources")
class Files(Resource):
    """The files of a session."""

    @implements(op.LIST_FILES)
    async def list(
        self, *, id: str, options: RequestOptions | None = None
    ) -> builtins.list[FileInfo]:
        """List a session's files.

        Args:
          id: the session.
          options: what differs for this call.
        """
        return await self._core.request(op.LIST_FILES, {"id": id}, options)

    @implements(op.UPLOAD_FILE)
    async def upload(
        self,
        *,
        id: str,
        file: FileSource,
        filename: str | None = None,
        content_type: str | None = None,
        progress: Progress | None = None,
        options: RequestOptions | None = None,
    ) -> FileInfo:
        """Upload a file, piece by piece: it is never in memory as a whole.

        There is no time limit unless ``options`` sets one. A stream is read but not closed.

        Args:
          id: the session.
          file: a path, the content as bytes, or an async iterable of bytes.
          filename: the name on the server; for a path its own by default.
          content_type: the media type; guessed from the name by default.
          progress: called with the bytes sent so far, and all there are or ``None``; sync or
            async. What it raises ends the upload.
          options: what differs for this call.
        """
        upload = await Upload.plan(
            file, filename=filename, content_type=content_type, progress=progress
        )
        async with upload:
            answer = await self._core.call(
                op.UPLOAD_FILE,
                {"id": id},
                options,
                content=upload.body,
                content_headers=upload.headers,
            )
        return answer.value

    @implements(op.GET_FILE)
    def get(
        self,
        *,
        id: str,
        filename: str,
        thumb: str | int | None = None,
        time: float | None = None,
        options: RequestOptions | None = None,
    ) -> FileRequest:
        """Get a file: ``await`` this for its bytes, or ``async with`` it for a `FileStream`.

        Args:
          id: the session.
          filename: the file.
          thumb: a small picture instead: ``100`` fits it into a box, ``"w100"`` sets the width,
            ``"h100"`` the height, in pixels.
          time: where in a video the small picture is taken, in seconds, up to 86,400.
          options: what differs for this call; the time limit is that of each read.
        """
        return FileRequest(self._core, _file_values(id, filename, thumb, time), options)

    @implements(op.GET_FILE)
    async def download(
        self,
        *,
        id: str,
        filename: str,
        to: str | os.PathLike[str],
        thumb: str | int | None = None,
        time: float | None = None,
        progress: Progress | None = None,
        options: RequestOptions | None = None,
    ) -> Path:
        """Get a file and write it to a path, in one step: it is there whole, or not at all.

        A connection that is cut makes it begin anew, as `RetryConfig` says. When it fails or is
        cancelled nothing is left behind, and what stood at the path before is untouched.

        Args:
          id: the session.
          filename: the file.
          to: the path to write; a file that is there is replaced.
          thumb: a small picture instead, as for `get`.
          time: where in a video the small picture is taken, in seconds.
          progress: called with the bytes written so far, and all there are or ``None``; sync or
            async.
          options: what differs for this call; the time limit is that of each read.
        """
        request = FileRequest(self._core, _file_values(id, filename, thumb, time), options)
        return await request.save(to, progress)

    @implements(op.DELETE_FILE)
    async def delete(
        self, *, id: str, filename: str, options: RequestOptions | None = None
    ) -> None:
        """Delete a file.

        When a first try's answer was lost, a second one may be told that there is none: 404.

        Args:
          id: the session.
          filename: the file.
          options: what differs for this call.
        """
        await self._core.request(op.DELETE_FILE, {"id": id, "filename": filename}, options)


def _file_values(
    id: str, filename: str, thumb: str | int | None, time: float | None
) -> dict[str, object]:
    if isinstance(thumb, int) and not isinstance(thumb, bool):
        thumb = str(thumb)
    return {"id": id, "filename": filename, "thumb": thumb, "time": time}
