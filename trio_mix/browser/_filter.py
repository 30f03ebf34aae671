"""The one point where the server's commands are passed to the browser: the policy decides here.

Rules that the tests cite:

1. A command that is denied is answered with an error that says so; the browser does not receive it.
2. ``on_command`` is called for each command that the policy permits. It permits only by returning
   `True`. Commands of one session wait for the decisions about earlier ones.
3. An exception of ``on_command``, or a result that is neither a bool nor None, denies the command
   and ends the tunnel with that error.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias, final

from trio_mix.browser._commands import error
from trio_mix.browser._policy import BrowserCommand, CommandDenied
from trio_mix.errors import UsageError

if TYPE_CHECKING:
    import trio

    from trio_mix.browser._commands import TunnelCounters
    from trio_mix.browser._context import BrowserContext
    from trio_mix.browser._devtools import PendingCall
    from trio_mix.browser._policy import CommandChecker

OnCommand: TypeAlias = Callable[[BrowserCommand], bool | Awaitable[bool | None] | None]
"""A function, sync or async, that permits a command by returning True."""


@final
class CommandFilter:
    """Passes the permitted commands of one tunnel to its browser context.

    Args:
      checker: checks a command by the policy.
      context: receives the permitted commands.
      on_command: the user's function, or None.
      counters: the counters to increase.
      fail: ends the tunnel with an error (rule 3).
      nursery: runs the calls of ``on_command``.
    """

    def __init__(
        self,
        checker: CommandChecker,
        context: BrowserContext,
        on_command: OnCommand | None,
        *,
        counters: TunnelCounters,
        fail: Callable[[Exception], None],
        nursery: trio.Nursery,
    ) -> None:
        self._checker = checker
        self._context = context
        self._on_command = on_command
        self._counters = counters
        self._fail = fail
        self._nursery = nursery
        self._undecided: dict[str | None, deque[PendingCall]] = {}

    def submit(self, call: PendingCall) -> None:
        """Pass a command to the browser, or answer it with an error."""
        try:
            call.params = self._checker.check(call.method, call.params, call.session) or None
        except CommandDenied as denied:
            self._deny(call, str(denied))
            return
        if self._on_command is None:
            self._context.submit(call)
            return
        queue = self._undecided.get(call.session)
        if queue is None:
            queue = self._undecided[call.session] = deque()
            self._nursery.start_soon(self._decide, self._on_command, call.session, queue)
        queue.append(call)

    def cancel(self, call: PendingCall) -> None:
        """Drop the outcome of a command; one that is not decided yet is not run."""
        self._context.cancel(call)

    async def _decide(  # noqa: ASYNC910 - a task of its own: nobody awaits it
        self, on_command: OnCommand, session: str | None, queue: deque[PendingCall]
    ) -> None:
        while queue:
            call = queue.popleft()
            if call.cancelled:
                continue
            command = BrowserCommand(
                method=call.method, params=call.params or {}, session_id=session
            )
            try:
                answer = on_command(command)
                permitted: object = await answer if inspect.isawaitable(answer) else answer
            except Exception as exc:  # noqa: BLE001 - the caller's own, raised by the tunnel
                self._deny(call, "on_command failed")
                self._fail(exc)
                continue
            if permitted is True:
                if not call.cancelled:
                    self._context.submit(call)
                continue
            self._deny(call, "on_command did not permit it")
            if permitted is not None and permitted is not False:
                self._fail(
                    UsageError(
                        f"open_tunnel(on_command=…) returned {type(permitted).__name__} for"
                        f" {call.method}. Return True to permit a command, else False or None."
                    )
                )
        del self._undecided[session]

    def _deny(self, call: PendingCall, reason: str) -> None:
        self._counters.denied += 1
        if not call.cancelled:
            call.done(error(f"{call.method} was denied by the tunnel's policy: {reason}."))
