"""A session that exists as long as its ``async with``."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import trio

from trio_mix import errors
from trio_mix._rest._options import ONE_TRY
from trio_mix._usage import AsyncScope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType
    from typing import NoReturn

    from trio_mix._session._stream import SessionStream
    from trio_mix.resources import Sessions


@final
class SessionScope(AsyncScope):
    """A session that exists as long as its ``async with``. Returned by `Mix.open_session`.

    Args:
      create: creates the session, and returns its id.
      open_stream: returns the stream of the session.
      sessions: deletes it.
      cleanup_timeout: the seconds that this may take.
    """

    _entered_as = "async with mix.open_session(...) as session"

    def __init__(
        self,
        create: Callable[[], Awaitable[str]],
        open_stream: Callable[[str], SessionStream],
        sessions: Sessions,
        cleanup_timeout: float,
    ) -> None:
        self._create = create
        self._open_stream = open_stream
        self._sessions = sessions
        self._cleanup_timeout = cleanup_timeout
        self._stream: SessionStream | None = None

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):
                raise AttributeError(name)
            raise errors.UsageError(
                f"The session is not open, so there is no {name!r}: use open_session as"
                f" `{self._entered_as}`, and session.{name} inside the block."
            )

    async def __aenter__(self) -> SessionStream:
        """Create the session and connect its stream.

        Raises what ``mix.sessions.create`` and entering a stream raise. A checkpoint. If it is
        cancelled, or the stream cannot be opened, the session is deleted.
        """
        self._enter()
        session_id = await self._create()
        self._stream = self._open_stream(session_id)
        try:
            return await self._stream.__aenter__()
        except BaseException:
            await self._delete(session_id)
            raise

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the stream and delete the session; if that fails, no error is raised."""
        if self._stream is None:
            raise self._misused("`__aexit__` alone")
        try:
            await self._stream.__aexit__(exc_type, exc, traceback)
        finally:
            await self._delete(self._stream.session_id)

    async def _delete(self, session_id: str) -> None:
        deadline = trio.current_time() + self._cleanup_timeout
        with trio.CancelScope(shield=True, deadline=deadline):
            try:
                await self._sessions.delete(id=session_id, options=ONE_TRY)
            except Exception:  # noqa: BLE001 - refused, unreachable, or vetoed by a hook
                await trio.lowlevel.checkpoint()
