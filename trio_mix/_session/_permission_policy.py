"""Asking the caller's policy about a permission request, and telling the server its answer.

What it knows: what a policy that fails means, what an answer that does not arrive means.
What it must never know: how the server is told.

Rule 1  What the policy raises fails its message, and the request is denied.
Rule 2  An answer that is lost on the way is given again while the message runs: the server decides
        a request once, and forgets it then.
Rule 3  A request that the server no longer knows was decided meanwhile: the message goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trio_mix import errors
from trio_mix._http import is_transient

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mix._session._message_state import MessageState
    from trio_mix.sse import ReconnectSchedule

__all__ = ["answer_permission"]


async def answer_permission(
    state: MessageState,
    ask: Callable[[], Awaitable[bool]],
    tell: Callable[[bool], Awaitable[None]],
    schedule: ReconnectSchedule,
) -> None:
    """Ask a policy and tell the server what it said; raises only Cancelled.

    Args:
      state: the message that the request is of.
      ask: asks the policy.
      tell: tells the server whether it is granted.
      schedule: when to tell it again.
    """
    failure: BaseException | None = None
    granted = False
    with trio.CancelScope() as scope:
        state.policies.add(scope)
        try:
            granted = bool(await ask())
        except Exception as exc:  # noqa: BLE001 - the caller's own, raised in the caller's task
            failure = exc
        finally:
            state.policies.discard(scope)
        failure = await _tell(state, tell, schedule, granted=granted) or failure
    if failure is not None:
        state.fail(failure)


async def _tell(
    state: MessageState,
    tell: Callable[[bool], Awaitable[None]],
    schedule: ReconnectSchedule,
    *,
    granted: bool,
) -> BaseException | None:
    schedule.begin(trio.current_time())
    while True:
        try:
            await tell(granted)
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
