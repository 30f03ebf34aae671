"""The files of a session.

What it knows: the arguments of these operations. What it must never know: how a call is made.
"""

# ruff: noqa: A002  # ``id`` is the API's own name

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix import _operations as op
from trio_mix.resources._base import Resource, implements

if TYPE_CHECKING:
    import builtins

    from trio_mix._options import RequestOptions
    from trio_mix.models import FileInfo

__all__ = ["Files"]


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
