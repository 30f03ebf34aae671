"""The files of a session."""

# ruff: noqa: A002  # ``id`` is the API's own name

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix._public import public
from trio_mix._rest._file_download import FileRequest
from trio_mix._rest._file_upload import Upload
from trio_mix._rest._operation import Param, query_param
from trio_mix.models import FileInfo
from trio_mix.resources._base import Resource, implements, operation, operation_of

if TYPE_CHECKING:
    import builtins
    import os
    from pathlib import Path

    from trio_mix._rest._file_upload import FileSource, Progress
    from trio_mix._rest._options import RequestOptions


@public("trio_mix.resources")
class Files(Resource):
    """The files of a session."""

    @operation(
        "GET",
        "/api/sessions/{id}/files",
        operation_id="listSessionFiles",
        result=list[FileInfo],
        errors=(404,),
        retry="safe",
    )
    async def list(
        self, *, id: str, options: RequestOptions | None = None
    ) -> builtins.list[FileInfo]:
        """List a session's files.

        Args:
          id: the session.
          options: what differs for this call.
        """
        return await self._call(Files.list, options, id=id)

    @operation(
        "POST",
        "/api/sessions/{id}/files/upload",
        Param(name="file", wire="file", where="form", kind="file"),
        operation_id="uploadSessionFile",
        result=FileInfo,
        answers=(201,),
        errors=(400, 404, 413),
        retry="unsent",
        long=True,
    )
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
        """Upload a file in pieces: it is never in memory as a whole.

        There is no timeout unless ``options`` sets one. A response that refuses the file is raised
        while the file is being sent; through an ``http_client`` or a proxy, only when it is sent,
        or at the timeout. However the upload ends, an async generator that it has begun to read is
        closed; any other stream stays open.

        Args:
          id: the session.
          file: a path, the content as bytes, or an async iterable of bytes.
          filename: the name on the server; by default that of the path.
          content_type: the media type; guessed from the name by default.
          progress: a sync or async function, called with the number of bytes sent so far and the
            total, ``None`` if it is unknown. An exception from it ends the upload.
          options: what differs for this call.
        """
        upload = await Upload.plan(
            file, filename=filename, content_type=content_type, progress=progress
        )
        answer = await self._caller.call(
            operation_of(Files.upload),
            {"id": id},
            options,
            content=upload,
        )
        return answer.value

    @operation(
        "GET",
        "/api/sessions/{id}/files/{filename}",
        query_param("thumb", pattern=r"\d+|w\d+|h\d+"),
        query_param("time", "number", minimum=0, maximum=86400),
        operation_id="getSessionFile",
        result=bytes,
        errors=(400, 404),
        retry="safe",
    )
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
          thumb: return a thumbnail instead: ``100`` fits it into a square, ``"w100"`` sets the
            width, ``"h100"`` the height, in pixels.
          time: the position in a video of its thumbnail, in seconds, up to 86,400.
          options: what differs for this call; ``timeout`` is that of each read.
        """
        return self._request(options, id=id, filename=filename, thumb=thumb, time=time)

    @implements(operation_of(get))
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
        """Download a file to a path, atomically: the file is complete, or it is not there.

        If the connection is cut, the download starts over, as `RetryConfig` says. If it fails or is
        cancelled, no partial file is left, and an older file at the path is unchanged.

        Args:
          id: the session.
          filename: the file.
          to: the path to write; an older file there is replaced.
          thumb: return a thumbnail instead, as for `get`.
          time: the position in a video of its thumbnail, in seconds.
          progress: a sync or async function, called with the number of bytes written so far and
            the total, ``None`` if it is unknown.
          options: what differs for this call; ``timeout`` is that of each read.
        """
        request = self._request(options, id=id, filename=filename, thumb=thumb, time=time)
        return await request.save(to, progress)

    @operation(
        "DELETE",
        "/api/sessions/{id}/files/{filename}",
        operation_id="deleteSessionFile",
        result=type(None),
        answers=(204,),
        errors=(400, 404),
        retry="safe",
    )
    async def delete(
        self, *, id: str, filename: str, options: RequestOptions | None = None
    ) -> None:
        """Delete a file.

        If the response to a first try was lost, the retry may be answered 404: already deleted.

        Args:
          id: the session.
          filename: the file.
          options: what differs for this call.
        """
        await self._call(Files.delete, options, id=id, filename=filename)

    def _request(
        self,
        options: RequestOptions | None,
        *,
        id: str,
        filename: str,
        thumb: str | int | None,
        time: float | None,
    ) -> FileRequest:
        if isinstance(thumb, int) and not isinstance(thumb, bool):
            thumb = str(thumb)
        values = {"id": id, "filename": filename, "thumb": thumb, "time": time}
        return FileRequest(self._caller, operation_of(Files.get), values, options)
