"""The exceptions of the relay; each has the HTTP status that it is answered with."""

from __future__ import annotations

from typing import ClassVar

from trio_mix.errors import TrioMixError


class RelayError(TrioMixError):
    """The base class of the relay's exceptions.

    Attributes:
      status: the HTTP status of the answer.
      retry_after: seconds after which a repetition may succeed; None if it will not.
    """

    status: ClassVar[int] = 500
    retry_after: float | None = None


class LogError(RelayError):
    """The log cannot be opened, written or read.

    What to do: The text names the file and the cause. Nothing that was acknowledged is lost.
    """

    status = 503
    retry_after: float | None = 5.0


class LogBusy(LogError):
    """Another process uses the log.

    What to do: Stop the other relay, or give this one a log of its own.
    """


class LogCorrupt(LogError):
    """The file is not a log of the relay, or is damaged.

    What to do: Restore a backup, or move the file away to begin with an empty log.
    """


class LogTooNew(LogError):
    """A newer version of trio_mix has written the log.

    What to do: Use that version, or a log of its own for this one.
    """


class LogReadOnly(LogError):
    """The log cannot be written because of its permissions or its file system.

    What to do: Make the file and its folder writable.
    """


class LogFull(LogError):
    """The disk is full.

    What to do: Free space. The relay continues by itself.
    """


class Fenced(RelayError):
    """Another relay owns the session now: an append with an old lease was refused.

    What to do: Nothing: this relay stops writing the session.
    """

    status = 503
    retry_after: float | None = 1.0


class SessionOwned(RelayError):
    """Another relay owns the session: this one follows its events.

    What to do: Nothing: the relay passes on what it is sent.

    Attributes:
      owner: the name of the other relay.
    """

    status = 503
    retry_after: float | None = 1.0

    def __init__(self, message: str, owner: str) -> None:
        super().__init__(message)
        self.owner: str = owner


class OwnerUnreachable(RelayError):
    """The relay that owns the session did not answer.

    What to do: Repeat the request: another relay takes the session over in a few seconds.
    """

    status = 503
    retry_after: float | None = 2.0


class SessionUnknown(RelayError):
    """Neither the server nor the log knows the session.

    What to do: Check the id, or create the session first.
    """

    status = 404


class TurnUnknown(RelayError):
    """The log has no turn with that id.

    What to do: Check the id. Turns are removed with the events of their session.
    """

    status = 404


class UpstreamUnavailable(RelayError):
    """The Mix server cannot be reached, and the log does not have the answer.

    What to do: Start the server, or check the address in ``--upstream``.
    """

    status = 503
    retry_after: float | None = 2.0


class QueueFull(RelayError):
    """As many messages as allowed are queued for the session.

    What to do: Send the message again later.
    """

    status = 429
    retry_after: float | None = 5.0


class KeyReused(RelayError):
    """An idempotency key was used again with another body.

    What to do: Use a new key for each message.
    """

    status = 422


class Draining(RelayError):
    """The relay is shutting down and accepts no more messages.

    What to do: Send the message again: the next relay takes it.
    """

    status = 503
    retry_after: float | None = 2.0


class Unauthorized(RelayError):
    """The request has no valid token.

    What to do: Pass a token that ``trio-mix relay token`` has printed.
    """

    status = 401


class Forbidden(RelayError):
    """The token does not allow the operation.

    What to do: Use a token that has the verb which the text names.
    """

    status = 403


class AlreadyDecided(RelayError):
    """The permission request, or the notification, has been answered differently.

    What to do: Nothing: the first answer counts.
    """

    status = 404


class CommandRefused(RelayError):
    """The relay refused to cancel a turn, or to answer a permission request.

    What to do: Read the text. A 404 means a wrong id, or that the opposite was answered before; a
    403 that the token lacks the verb.

    Attributes:
      status_code: the HTTP status that the same request would be answered with.
    """

    def __init__(self, message: str, *, status_code: int) -> None:
        super().__init__(message)
        self.status_code = status_code
