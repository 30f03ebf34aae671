"""Answers to permission requests and notifications, of which the first one counts."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_mix import errors
from trio_mix._terminal_text import get_logger
from trio_mix.relay._errors import AlreadyDecided, UpstreamUnavailable
from trio_mix.relay._records import Answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from trio_mix._mix import Mix
    from trio_mix.models import NotificationAnswer
    from trio_mix.relay._session import RelaySession

_REMEMBERED: Final = 10_000

_logger = get_logger("trio_mix.relay")


@attrs.define(eq=False)
class _Given:
    """An answer to a permission request or a notification."""

    choice: object
    subject: str = ""
    done: trio.Event = attrs.field(factory=trio.Event)
    answer: Answer | None = None
    """The server's answer; None if it could not be reached."""


class _FirstAnswers:
    """The first answers to requests of one kind; later ones are not sent."""

    def __init__(self) -> None:
        self._given: OrderedDict[str, _Given] = OrderedDict()

    async def first(
        self,
        request_id: str,
        given: _Given,
        send: Callable[[], Awaitable[Answer]],
        nursery: trio.Nursery,
    ) -> _Given:
        """Send an answer if it is the first one; return the one that counts.

        Args:
          request_id: what is answered.
          given: the answer.
          send: sends it.
          nursery: where it is sent.
        """
        while True:  # noqa: ASYNC913 - each iteration waits
            earlier = self._given.get(request_id)
            if earlier is None:
                self._given[request_id] = given
                if len(self._given) > _REMEMBERED:
                    self._given.popitem(last=False)
                nursery.start_soon(self._send, request_id, given, send)
                await given.done.wait()
                return given
            await earlier.done.wait()
            if earlier.answer is not None and earlier.answer.status < 300:
                return earlier  # otherwise it was not answered: try again

    async def _send(  # noqa: ASYNC910 - the request is a checkpoint
        self, request_id: str, given: _Given, send: Callable[[], Awaitable[Answer]]
    ) -> None:
        try:
            given.answer = await send()
        except errors.MixError as exc:
            given.answer = Answer(
                status=exc.status_code,
                content_type=exc.headers.get("content-type", "text/plain"),
                body=exc.body.encode("utf-8", "replace"),
            )
        except errors.TransportError as exc:
            _logger.debug("The answer to %r was not sent: %s", request_id, exc)
        finally:
            if given.answer is None or given.answer.status >= 300:
                self._given.pop(request_id, None)
            given.done.set()


class Decisions:
    """The answers to the permission requests and notifications of all sessions.

    Args:
      mix: the client of the server.
      sessions: the open sessions.
    """

    def __init__(self, mix: Mix, sessions: Mapping[str, RelaySession]) -> None:
        self._mix = mix
        self._sessions = sessions
        self._decisions = _FirstAnswers()
        self._responses = _FirstAnswers()

    def session_of(self, request_id: str) -> str | None:
        """Return the session of a permission request or a notification, or None if it is unknown.

        Also of one that is answered already.
        """
        for session in self._sessions.values():
            if session.role.asked(request_id):
                return session.session_id
        return None

    async def decide(
        self, permission_id: str, *, grant: bool, subject: str, nursery: trio.Nursery
    ) -> Answer:
        """Answer a permission request; see `Hub.decide`.

        Args:
          permission_id: the request.
          grant: whether it is granted.
          subject: who decides.
          nursery: where the answer is sent.
        """
        permissions = self._mix.permissions
        operation = permissions.grant if grant else permissions.deny

        async def send() -> Answer:
            session_id = self.session_of(permission_id)
            await operation(id=permission_id)
            self._report(permission_id, session_id, granted=grant, subject=subject)
            return _decided(permission_id, grant)

        decision = self._decided_before(permission_id)
        if decision is None:
            given = _Given(grant, subject)
            decision = await self._decisions.first(permission_id, given, send, nursery)
        if decision.answer is None:
            raise UpstreamUnavailable("The permission request was not answered: no connection.")
        if decision.choice is not grant:
            verb = "granted" if decision.choice else "denied"
            by = f" by {decision.subject}" if decision.subject else ""
            raise AlreadyDecided(f"The permission request was {verb}{by} before.")
        await trio.lowlevel.checkpoint()
        return decision.answer

    async def respond(
        self,
        notification_id: str,
        response: NotificationAnswer,
        value: str | None,
        *,
        nursery: trio.Nursery,
    ) -> Answer:
        """Answer a notification; see `Hub.respond`.

        Args:
          notification_id: the notification.
          response: the kind of answer.
          value: the text, or the choice.
          nursery: where the answer is sent.
        """

        async def send() -> Answer:
            await self._mix.notifications.respond(id=notification_id, type=response, value=value)
            return Answer(status=204, content_type="application/json", body=b"")

        digest = hashlib.sha256(json.dumps([response, value]).encode()).digest()
        given = await self._responses.first(notification_id, _Given(digest), send, nursery)
        if given.answer is None:
            raise UpstreamUnavailable("The notification was not answered: no connection.")
        if given.choice != digest:
            raise AlreadyDecided("The notification was answered before.")
        return given.answer

    def _decided_before(self, permission_id: str) -> _Given | None:
        """Return the decision of an earlier relay about a request of a running turn, if any."""
        for session in self._sessions.values():
            owner = session.role.owner
            if owner is not None and permission_id in owner.events.answered:
                granted, subject = owner.events.answered[permission_id]
                decision = _Given(granted, subject, answer=_decided(permission_id, granted))
                decision.done.set()
                return decision
        return None

    def _report(
        self, permission_id: str, session_id: str | None, *, granted: bool, subject: str
    ) -> None:
        session = None if session_id is None else self._sessions.get(session_id)
        if session is not None and session.role.owner is not None:
            session.role.owner.settled_permission(permission_id, granted=granted, subject=subject)


def _decided(permission_id: str, granted: bool) -> Answer:
    fields = {"granted": granted, "id": permission_id}
    return Answer(status=200, content_type="application/json", body=json.dumps(fields).encode())
