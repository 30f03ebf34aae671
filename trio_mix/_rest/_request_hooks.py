"""Calling hooks: around a request, and one after the other.

Rules (those of `Hooks`, implemented here):

1. ``before_request`` vetoes by raising, and the call is not retried. An exception from another hook
   is logged and ignored. A cancellation, and any exception that is no `Exception`, passes.
2. For each ``before_request`` that returned, one of the other two is called, whatever happens.
3. A hook that must be called during a cancellation is shielded, for a limited time.
4. If there are no hooks, no object of this module is created.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import trio

from trio_mix._http import check_headers, sanitize_url
from trio_mix._rest._retry import Vetoed
from trio_mix._terminal_text import get_logger
from trio_mix._usage import call, check_awaited
from trio_mix.errors import ConfigurationError, MixError, UsageError
from trio_mix.hooks import (
    AfterErrorContext,
    AfterSuccessContext,
    BeforeRequestContext,
    Hooks,
    State,
)

if TYPE_CHECKING:
    from trio_mix.errors import RequestInfo
    from trio_mix.hooks import Hook

C = TypeVar("C")

SHIELDED_TIMEOUT: Final = 2.0
"""Seconds that a hook may take during a cancellation."""

_log = get_logger("trio_mix.hooks")


class HasStatus(Protocol):
    @property
    def status_code(self) -> int: ...


A = TypeVar("A", bound=HasStatus)


def check_hooks(hooks: Hooks | Iterable[Hooks] | None) -> tuple[Hooks, ...]:
    """Return a client's hooks in order.

    Raises:
      ConfigurationError: one of them is no `Hooks`.
    """
    if hooks is None:
        return ()
    if isinstance(hooks, Hooks):
        return (hooks,)
    several = tuple(hooks) if isinstance(hooks, Iterable) else (hooks,)
    for each in several:
        if not isinstance(each, Hooks):
            raise ConfigurationError(
                f"hooks must be a trio_mix.Hooks, or a sequence of them, not {type(each).__name__}"
            )
    return several


async def call_hook(hook: Hook[C] | None, context: C) -> None:  # noqa: ASYNC910 - the request is one
    """Call one hook; an exception from it is logged and ignored (rule 1)."""
    try:
        if hook is not None:
            check_awaited(await call(hook, context), "it")
    except Exception:  # noqa: BLE001 - a hook must not break the work
        _log.exception("the hook %s raised; it is ignored", _name(hook))


async def call_each(calls: Iterable[tuple[Hook[C] | None, C]]) -> None:  # noqa: ASYNC910 - as above
    """Call all hooks in order, also during a cancellation (rule 3)."""
    left = [(hook, context) for hook, context in calls if hook is not None]
    left.reverse()
    try:
        while left and trio.current_effective_deadline() != -math.inf:
            await call_hook(*left.pop())
    finally:
        while left:
            hook, context = left.pop()
            deadline = trio.current_time() + SHIELDED_TIMEOUT
            with trio.CancelScope(shield=True, deadline=deadline) as scope:
                await call_hook(hook, context)
            if scope.cancelled_caught:
                _log.warning(
                    "the hook %s took more than %g s during a cancellation; it was cancelled",
                    _name(hook),
                    SHIELDED_TIMEOUT,
                )


def _name(hook: object) -> str:
    return str(getattr(hook, "__qualname__", None) or type(hook).__qualname__)


def _check_veto(result: object) -> None:
    """Refuse the results of a ``before_request`` that was meant to veto, and did not raise.

    Raises:
      UsageError: the result is False, or a coroutine that was never awaited.
    """
    check_awaited(result, "before_request")
    if result is False:
        raise UsageError(
            "before_request returned False, so the request was not made: raise an exception to veto"
            " a request, and return None to allow it."
        )


def request_hooks(hooks: Sequence[Hooks], stream_state: State | None = None) -> RequestHooks | None:
    """Return an object that calls the hooks around requests, `None` if there are no such hooks.

    Args:
      hooks: the client's hooks, in order.
      stream_state: the state that hooks keep for the stream that the requests open.
    """
    wanted = [
        each for each in hooks if each.before_request or each.after_success or each.after_error
    ]
    return RequestHooks(wanted, stream_state) if wanted else None


class RequestHooks:
    """Calls a client's hooks around its requests."""

    def __init__(self, hooks: Sequence[Hooks], stream_state: State | None = None) -> None:
        self._hooks = hooks
        self._stream_state = stream_state

    async def around(
        self,
        request: RequestInfo,
        attempt: int,
        once: Callable[[Mapping[str, str]], Awaitable[A]],
        discard: Callable[[A], Awaitable[None]] | None = None,
    ) -> A:
        """Make one try of a request, with the hooks around it.

        Args:
          request: the request.
          attempt: the number of the try, from 1.
          once: makes it, with the headers that the hooks have added.
          discard: closes its result, which is not returned if a hook is cancelled.

        Raises:
          Vetoed: a ``before_request`` raised; the exception in it must be raised in its place.
        """
        tried = Try(self._hooks, request, attempt, self._stream_state)
        try:
            answer = await once(await tried.begin())
        except BaseException as error:
            await tried.failed(error)
            raise
        try:
            await tried.succeeded(answer.status_code)
        except BaseException:
            if discard is not None:
                await discard(answer)
            raise
        return answer


class Try:
    """One try of a request, as its hooks see it.

    Args:
      hooks: in order.
      request: the request.
      attempt: the number of the try, from 1.
      stream_state: the state that hooks keep for the stream that the request opens.
    """

    def __init__(
        self,
        hooks: Sequence[Hooks],
        request: RequestInfo,
        attempt: int,
        stream_state: State | None = None,
    ) -> None:
        self._hooks = hooks
        state: State = {}
        self._request_fields: dict[str, Any] = {
            "operation": request.operation,
            "method": request.method,
            "url": sanitize_url(request.url),
            "attempt": attempt,
            "state": state,
            "stream_state": stream_state,
        }
        self._begun: list[Hooks] = []
        self._began = trio.current_time()

    async def begin(self) -> dict[str, str]:  # noqa: ASYNC910 - the request has some
        """Call each ``before_request``, and return the headers that they add.

        Raises:
          Vetoed: one of them raised.
          ConfigurationError: a header cannot be sent.
        """
        context = BeforeRequestContext(**self._request_fields)
        for hooks in self._hooks:
            if hooks.before_request is not None:
                try:
                    _check_veto(await call(hooks.before_request, context))
                except Exception as veto:  # noqa: BLE001 - it is raised unchanged
                    raise Vetoed(veto) from None
            self._begun.append(hooks)
        headers = dict(context.headers)
        check_headers(headers)
        self._began = trio.current_time()
        return headers  # noqa: ASYNC910 - as above

    async def succeeded(self, status_code: int) -> None:
        """Call the hooks for a success."""
        context = AfterSuccessContext(
            **self._request_fields,
            status_code=status_code,
            elapsed=trio.current_time() - self._began,
        )
        await call_each((each.after_success, context) for each in self._begun)

    async def failed(self, error: BaseException) -> None:
        """Call the hooks for a failure: those whose ``before_request`` returned."""
        if isinstance(error, Vetoed):
            error = error.veto
        context = AfterErrorContext(
            **self._request_fields,
            status_code=error.status_code if isinstance(error, MixError) else None,
            elapsed=trio.current_time() - self._began,
            error=error,
        )
        await call_each((each.after_error, context) for each in self._begun)
