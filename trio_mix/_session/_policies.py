"""Asks the caller's policies about permission requests and notifications, and sends the answers.

Rule 1  A request is granted only if the policy returns True itself. False denies it. Anything else,
        such as a text, None, or a coroutine that was never awaited, denies it and fails the message
        with `UsageError`. So does an answer to a notification that is not of its type.
Rule 2  An exception of a policy denies a permission request, leaves a notification unanswered, and
        fails the message with that exception, also if the server has already ended the turn.
Rule 3  An answer that is lost is sent again while the message runs: the server decides a request
        once and then forgets it.
Rule 4  A request that the server does not know any more has been decided: the message goes on.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, TypeVar

import attrs
import trio

from trio_mix import errors
from trio_mix._http import is_transient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mix import events as ev
    from trio_mix._session._message_state import MessageState
    from trio_mix.sse import ReconnectSchedule

A = TypeVar("A")


async def answer_question(  # noqa: ASYNC910 - the caller decides whether its policy waits
    state: MessageState,
    ask: Callable[[], Awaitable[A]],
    send: Callable[[A], Awaitable[None]],
    schedule: ReconnectSchedule,
    *,
    after_failure: A | None,
) -> None:
    """Ask a policy and send its answer; raises only Cancelled.

    Args:
      state: the message that the question belongs to.
      ask: calls the policy, and returns the answer.
      send: sends the answer to the server.
      schedule: when a lost answer is sent again.
      after_failure: the answer that is sent if the policy fails; None: none is sent.
    """
    with trio.CancelScope() as scope:  # noqa: ASYNC912 - the policy may wait
        state.questions.running.add(scope)
        answer: A | None = after_failure
        try:
            answer = await ask()
        except Exception as exc:  # noqa: BLE001 - the caller's own; raised in the caller's task
            state.questions.failure = exc
        finally:
            state.questions.running.discard(scope)
        failure: BaseException | None = None
        if answer is not None:
            failure = await _send(state, answer, send, schedule)
        failure = state.questions.failure or failure
        if failure is not None:
            state.fail(failure)


def checked_grant(result: object) -> bool:
    """Return whether a policy grants the request (rule 1)."""
    if result is True or result is False:
        return result
    raise errors.UsageError(
        f"on_permission returned {_shown(result)}, so the request was denied: return True to grant "
        "a request and False to deny it."
    )


@attrs.frozen
class Response:
    """The response to a notification."""

    value: str | None


def checked_response(result: object, question: ev.NotificationEvent) -> Response:
    """Return a policy's response to a notification (rule 1)."""
    kind = question.response_type
    shown = _shown(result)
    if result is None and kind == "acknowledge":
        return Response(None)
    if isinstance(result, str):
        if kind != "choice" or not question.choices or result in question.choices:
            return Response(result)
        shown = "a text that is not one of its choices"
    expected = {
        "acknowledge": "return None to acknowledge it",
        "choice": "return one of notification.choices",
    }.get(kind, "return a text")
    raise errors.UsageError(
        f"on_notification returned {shown} for a notification whose response_type is {kind!r}, so "
        f"it was not answered: {expected}."
    )


def _shown(result: object) -> str:
    if inspect.iscoroutine(result):
        result.close()  # without this, Python warns about it a second time
        return "a coroutine that was never awaited"
    return type(result).__name__


async def _send(
    state: MessageState,
    answer: A,
    send: Callable[[A], Awaitable[None]],
    schedule: ReconnectSchedule,
) -> BaseException | None:
    """Send the answer until it has arrived; return the error if it finally failed."""
    while True:
        schedule.begin(trio.current_time())
        try:
            await send(answer)
        except errors.TransportError as exc:
            failure: Exception = exc
        except errors.MixError as exc:
            if exc.status_code == 404:
                return None  # noqa: ASYNC910 - the request was one
            if not is_transient(exc.status_code, not_implemented=False):
                return exc  # noqa: ASYNC910 - the request was one
            failure = exc
        except Exception as exc:  # noqa: BLE001 - a hook's veto
            return exc  # noqa: ASYNC910 - the request was one
        else:
            return None
        delay = schedule.lost(trio.current_time())
        if delay is None:
            return failure  # noqa: ASYNC910 - the request was one
        with trio.move_on_after(delay):
            await state.questions.ended.wait()
            return None
