"""The exceptions of streams and of the messages that are sent on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from trio_mix.errors._base import TrioMixError

if TYPE_CHECKING:
    from trio_mix._reply import Reply
    from trio_mix.events import ErrorEvent, RateLimitEvent


class StreamError(TrioMixError):
    """A stream ended, or could not be opened.

    Attributes:
      url: the URL of the stream, without credentials.
      session_id: the session; ``""`` for an SSE source that is not a Mix session.
    """

    def __init__(self, message: str, *, url: str = "", session_id: str = "") -> None:
        super().__init__(message)
        self.url = url
        self.session_id = session_id


class StreamClosed(StreamError):
    """The stream was used after it had been closed, or was closed while a task waited for it.

    What to do: Use the stream only inside its ``async with``; to continue later, open a new one.
    If it was not closed by the program, the ``__cause__`` has the reason.
    """


class StreamAlreadyOpen(StreamError):
    """The session already has an open stream on this client.

    What to do: Pass the one stream to all tasks that need the session: any number of tasks can
    send messages on it, and each can have a subscription.
    """


class SessionNotFound(StreamError):
    """The server does not know the session.

    What to do: Create the session first, or check its id. If the session existed before, it was
    deleted or the server has lost it: create a new one.
    """


class ReconnectFailed(StreamError):
    """The stream was lost and could not be reopened within the time that its policy allows.

    What to do: Find out why the server is not available: the ``__cause__`` is the error of the last
    attempt. A daemon passes ``ReconnectPolicy(max_elapsed_time=None)`` to try forever.

    Attributes:
      attempts: the number of connection attempts since the loss.
      elapsed: seconds since the loss.
    """

    def __init__(
        self,
        message: str,
        *,
        url: str = "",
        session_id: str = "",
        attempts: int = 0,
        elapsed: float = 0.0,
    ) -> None:
        super().__init__(message, url=url, session_id=session_id)
        self.attempts = attempts
        self.elapsed = elapsed


class ProtocolError(StreamError):
    """The response is not an event stream, or an event exceeds the size limit.

    What to do: Check the address: most often it is that of a web page or a proxy. If an event is
    too large, raise ``max_event_size``.
    """


class MessageError(TrioMixError):
    """A message did not end with a complete reply.

    Attributes:
      session_id: the session.
      partial: the part of the reply that was received; ``None`` if the message was not sent.
    """

    def __init__(self, message: str, *, session_id: str = "", partial: Reply | None = None) -> None:
        super().__init__(message)
        self.session_id = session_id
        self.partial = partial


class AgentError(MessageError):
    """The agent ended the message with an ``error`` (or ``rate_limit_error``) event.

    What to do: Read ``event``: its ``type`` shows whether credentials or load are the cause. The
    partial reply is in ``partial``. The server does not continue the message, so it can be sent
    again.

    Attributes:
      event: the event that ended the message.
    """

    def __init__(
        self,
        message: str,
        *,
        event: ErrorEvent | RateLimitEvent,
        session_id: str = "",
        partial: Reply | None = None,
    ) -> None:
        super().__init__(message, session_id=session_id, partial=partial)
        self.event = event


# `_session/_message_task.py` assembles the text; `_session/_message.py` does if the block was left.
class MessageInterrupted(MessageError):
    """The message was interrupted: its reply is incomplete, or its outcome is unknown.

    What to do: Look at ``outcome``. ``"gone"``: send the message again if it is still wanted.
    ``"unknown"``: it may have run, or may still be running, so check the session's messages first.

    Attributes:
      outcome: ``"gone"`` if the server is known to have dropped the message; ``"unknown"`` if it
        may have run, or may still be running; ``"cancelled"`` if its block was left early and the
        server was asked to cancel it.
    """

    def __init__(
        self,
        message: str,
        *,
        session_id: str = "",
        partial: Reply | None = None,
        outcome: Literal["gone", "unknown", "cancelled"] = "unknown",
    ) -> None:
        super().__init__(message, session_id=session_id, partial=partial)
        self.outcome: Literal["gone", "unknown", "cancelled"] = outcome


class MessageRejected(MessageError):
    """The message was refused, by the server or by the client, and did not run.

    What to do: Fix the message as the text describes and send it again.
    """


class MessageNotFinished(MessageError):
    """The reply was requested while the message was still running.

    What to do: Iterate the message to its end, or ``await message.wait()``. The partial reply is in
    ``partial``.
    """


class ConsumerTooSlow(MessageError):
    """The message's buffer reached its limit because no task iterated the message.

    What to do: Iterate the message in a task that does nothing slow, or raise ``message_buffer``
    or the client's ``max_buffered_size``, whichever the text names. Only this message failed: the
    stream and the other messages continue.
    """


class ReplyTooLarge(MessageError):
    """The reply exceeded ``max_reply_size``; the server was asked to cancel the turn.

    What to do: Use the reply so far, which is in ``.partial``, or raise ``max_reply_size``; None
    means no limit.
    """
