"""The session of a chat, which exists from the first message on, and can be replaced by another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trio_mix.cli._attachments import attach_files
from trio_mix.cli._new_session import SessionChoice, title_of

if TYPE_CHECKING:
    from pathlib import Path

    from trio_mix import Mix, SessionStream


@attrs.define
class ChatSession:
    """The session that messages are sent in."""

    mix: Mix
    where: SessionChoice
    """Describes the sessions that are created."""
    id: str | None
    """The id; None: the next message creates a session."""
    stream: SessionStream | None = attrs.field(default=None, init=False)
    """Its stream, while it is open."""
    files: list[Path] = attrs.field(factory=list["Path"], init=False)
    """What is attached to the next message."""
    was_replaced: bool = attrs.field(default=False, init=False)
    """Whether the open stream is that of an earlier session."""

    def replace(self, session_id: str | None) -> None:
        """Use another session from now on; None: one that the next message creates."""
        self.id = session_id
        self.was_replaced = True

    def use_model(self, model: str | None) -> None:
        """Use a new session with a model; None: with the server's default."""
        self.where = attrs.evolve(self.where, model=model)
        self.replace(None)

    async def create(self, text: str) -> None:
        """Create the session for a first message.

        Raises:
          TrioMixError: the server refused it or did not respond.
        """
        created = await self.mix.sessions.create(title=title_of(text), **self.where.fields)
        self.id = created.id

    async def with_files(self, session_id: str, text: str) -> str:
        """Upload what is attached, and return the text of the message that names it."""
        files, self.files = self.files, []
        return await attach_files(self.mix, session_id, files, text)
