"""Answers to permission requests, of which the first one counts, and to notifications."""

from __future__ import annotations

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
    from collections.abc import Mapping

    from trio_mix._mix import Mix
    from trio_mix.models import NotificationAnswer
    from trio_mix.relay._session import RelaySession

_REMEMBERED: Final = 10_000

_logger = get_logger("trio_mix.relay")


@attrs.define(eq=False)
class _Decision:
    """An answer to a permission request."""

    grant: bool
    subject: str
    done: trio.Event = attrs.field(factory=trio.Event)
    answer: Answer | None = None
    """The server's answer; None if it could not be reached."""


class Decisions:
    """The answers to the permission requests and notifications of all sessions.

    Args:
      mix: the client of the server.
      sessions: the open sessions.
    """

    def __init__(self, mix: Mix, sessions: Mapping[str, RelaySession]) -> None:
        self._mix = mix
        self._sessions = sessions
        self._decisions: OrderedDict[str, _Decision] = OrderedDict()
        self._responses: OrderedDict[str, tuple[NotificationAnswer, str | None]] = OrderedDict()

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
        while True:
            decision = self._decisions.get(permission_id) or self._decided_before(permission_id)
            if decision is None:
                decision = self._decisions[permission_id] = _Decision(grant, subject)
                if len(self._decisions) > _REMEMBERED:
                    self._decisions.popitem(last=False)
                nursery.start_soon(self._send, permission_id, decision)
                await decision.done.wait()
                break
            await decision.done.wait()
            if decision.answer is not None and decision.answer.status < 300:
                break  # otherwise it was not decided: try again
        if decision.answer is None:
            raise UpstreamUnavailable("The permission request was not answered: no connection.")
        if decision.grant is not grant:
            verb = "granted" if decision.grant else "denied"
            by = f" by {decision.subject}" if decision.subject else ""
            raise AlreadyDecided(f"The permission request was {verb}{by} before.")
        return decision.answer

    async def respond(
        self, notification_id: str, response: NotificationAnswer, value: str | None
    ) -> Answer:
        """Answer a notification; see `Hub.respond`."""
        if self._responses.get(notification_id) != (response, value):
            try:
                await self._mix.notifications.respond(
                    id=notification_id, type=response, value=value
                )
            except errors.MixError as exc:
                return _answer_of(exc)  # noqa: ASYNC910 - the request was awaited
            except errors.TransportError as exc:
                raise UpstreamUnavailable(
                    "The notification was not answered: no connection."
                ) from exc
            self._responses[notification_id] = response, value
            if len(self._responses) > _REMEMBERED:
                self._responses.popitem(last=False)
        await trio.lowlevel.checkpoint()
        return Answer(status=204, content_type="application/json", body=b"")

    def _decided_before(self, permission_id: str) -> _Decision | None:
        """Return the decision of an earlier relay about a request of a running turn, if any."""
        for session in self._sessions.values():
            owner = session.role.owner
            if owner is not None and permission_id in owner.events.answered:
                granted, subject = owner.events.answered[permission_id]
                decision = _Decision(granted, subject, answer=_decided(permission_id, granted))
                decision.done.set()
                return decision
        return None

    async def _send(self, permission_id: str, decision: _Decision) -> None:  # noqa: ASYNC910 - the request is a checkpoint
        session_id = self.session_of(permission_id)
        permissions = self._mix.permissions
        operation = permissions.grant if decision.grant else permissions.deny
        try:
            await operation(id=permission_id)
        except errors.MixError as exc:
            decision.answer = _answer_of(exc)
        except errors.TransportError as exc:
            _logger.debug("Permission request %r: %s", permission_id, exc)
        else:
            decision.answer = _decided(permission_id, decision.grant)
            self._report(permission_id, decision, session_id)
        finally:
            if decision.answer is None or decision.answer.status >= 300:
                self._decisions.pop(permission_id, None)
            decision.done.set()

    def _report(self, permission_id: str, decision: _Decision, session_id: str | None) -> None:
        session = None if session_id is None else self._sessions.get(session_id)
        if session is not None and session.role.owner is not None:
            session.role.owner.settled_permission(
                permission_id, granted=decision.grant, subject=decision.subject
            )


def _answer_of(error: errors.MixError) -> Answer:
    return Answer(
        status=error.status_code,
        content_type=error.headers.get("content-type", "text/plain"),
        body=error.body.encode("utf-8", "replace"),
    )


def _decided(permission_id: str, granted: bool) -> Answer:
    fields = {"granted": granted, "id": permission_id}
    return Answer(status=200, content_type="application/json", body=json.dumps(fields).encode())
