"""Asks the caller's policy about a permission request and sends its answer to the server.

Rule 1  A request is granted only if the policy returns True itself. False denies it. Anything else,
        such as a text, None, or a coroutine that was never awaited, denies it and fails the message
        with `UsageError`.
Rule 2  An exception of the policy denies the request and fails the message with that exception,
        also if the server has already ended the turn.
Rule 3  An answer that is lost is sent again while the message runs: the server decides a request
        once and then forgets it.
Rule 4  A request that the server does not know any more has been decided: the message goes on.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import trio

from trio_mix import errors
from trio_mix._callbacks import call
from trio_mix._http import is_transient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mix._session._message_state import MessageState
    from trio_mix.sse import ReconnectSchedule

__all__ = ["answer_permission"]


async def answer_permission(
    state: MessageState,
    ask: Callable[[], object],
    send: Callable[[bool], Awaitable[None]],
    schedule: ReconnectSchedule,
) -> None:
    """Ask a policy and send its answer; raises only Cancelled.

    Args:
      state: the message that the request belongs to.
      ask: calls the policy, which may be sync or async.
      send: sends the server whether the request is granted.
      schedule: when a lost answer is sent again.
    """
    with trio.CancelScope() as scope:
        state.policies.add(scope)
        granted = False
        try:
            granted = _checked(await call(ask))
        except Exception as exc:  # noqa: BLE001 - the caller's own; raised in the caller's task
            state.policy_failure = exc
        finally:
            state.policies.discard(scope)
        failure = await _send(state, send, schedule, granted=granted)
        failure = state.policy_failure or failure
        if failure is not None:
            state.fail(failure)


def _checked(result: object) -> bool:
    """Return whether a policy grants the request (rule 1)."""
    if result is True or result is False:
        return result
    shown = type(result).__name__
    if inspect.iscoroutine(result):
        result.close()  # without this, Python warns about it a second time
        shown = "a coroutine that was never awaited"
    raise errors.UsageError(
        f"on_permission returned {shown}, so the request was denied: return True to grant a "
        "request and False to deny it."
    )


async def _send(
    state: MessageState,
    send: Callable[[bool], Awaitable[None]],
    schedule: ReconnectSchedule,
    *,
    granted: bool,
) -> BaseException | None:
    """Send the answer until it has arrived; return the error if it finally failed."""
    while True:
        schedule.begin(trio.current_time())
        try:
            await send(granted)
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
            await state.over.wait()
            return None
