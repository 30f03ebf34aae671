"""Many permission requests and notifications of one turn.

1. A bounded number of them is answered at a time; the others wait in their order.
2. Leaving the message denies all that are open, a bounded number at a time.
3. What waits is bounded, and a warning is logged when it is too much.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import trio

from trio_mix import Hooks, Mix, errors
from trio_mix import events as ev
from trio_mix._session import _questions
from trio_mix._session._questions import ANSWERED_AT_ONCE, Questions
from trio_mix.testing import Emit, MixServer, Pause, Say, Turn

if TYPE_CHECKING:
    import pytest
    from trio.testing import MockClock

    from trio_mix.hooks import AfterErrorContext, AfterSuccessContext, BeforeRequestContext
    from trio_mix.testing import Api

APIS: tuple[Api, ...] = ("async", "pipeline", "blocking")
REQUEST = errors.RequestInfo("POST", "http://mix.test/", "permissions.grant_permission")
COUNT = 60


class Requests:
    """Counts the answers that are under way at one time; each takes a while.

    Args:
      takes: how long an answer takes, in seconds.
      failures: how often each answer is lost before it arrives.
    """

    def __init__(self, takes: float, failures: int = 0) -> None:
        self.takes = takes
        self.failures = failures
        self.tries: Counter[str] = Counter()
        self.active = 0
        self.most = 0

    @property
    def hooks(self) -> Hooks:
        return Hooks(before_request=self.begins, after_success=self.ends, after_error=self.ends)

    async def begins(self, ctx: BeforeRequestContext) -> None:
        if not _is_answer(ctx.operation):
            return
        self.active += 1
        self.most = max(self.most, self.active)
        self.tries[ctx.url] += 1
        try:
            await trio.sleep(self.takes)
            if self.tries[ctx.url] <= self.failures:
                raise errors.ConnectionFailed("not now", request=REQUEST, sent=False)
        except BaseException:
            self.active -= 1
            raise

    def ends(self, ctx: AfterSuccessContext | AfterErrorContext) -> None:
        self.active -= _is_answer(ctx.operation)


def _is_answer(operation: str) -> bool:
    return operation.startswith(("permissions.", "notifications."))


def permission(number: int) -> Emit:
    fields = {"toolName": "bash", "action": "execute", "description": "ls", "params": {}}
    return Emit("permission", {"id": f"p{number}", "sessionId": "s", **fields})


def notification(number: int) -> Emit:
    fields = {"notificationType": "question", "title": "", "message": "", "timeout": 60}
    fields |= {"responseType": "text", "createdAt": 0}
    return Emit("notification", {"id": f"n{number}", "sessionId": "s", **fields})


class Policies:
    """Policies that take a second, and count what is decided and answered at one time.

    Args:
      requests: counts the answers.
    """

    def __init__(self, requests: Requests) -> None:
        self.requests = requests
        self.asked: list[str] = []
        self.active = 0
        self.most = 0

    async def on_permission(self, request: ev.PermissionEvent, _: object) -> bool:
        await self._decide(request.permission_id)
        return True

    async def on_notification(self, notification: ev.NotificationEvent, _: object) -> str:
        await self._decide(notification.notification_id)
        return "yes"

    async def _decide(self, name: str) -> None:
        self.asked.append(name)
        self.active += 1
        self.most = max(self.most, self.active + self.requests.active)
        await trio.sleep(1)
        self.active -= 1


async def test_many_questions_are_answered_in_their_order_a_bounded_number_at_a_time(
    autojump_clock: MockClock,
) -> None:
    for api in APIS:
        requests = Requests(0.3, failures=1)
        policies = Policies(requests)
        async with (
            MixServer(api, listen=False, slow_reader_limit=None) as server,
            Mix(server.url, network=server.network, hooks=requests.hooks) as mix,
        ):
            asks = (permission, notification)
            questions = [kind(number) for number in range(COUNT // 2) for kind in asks]
            server.script("run", Turn(*questions, Pause(60), Say("Done.")))
            async with mix.open_stream(
                server.create_session(),
                on_permission=policies.on_permission,
                on_notification=policies.on_notification,
            ) as session:
                assert (await session.ask("run")).text == "Done."
        names = [f"{kind}{number}" for number in range(COUNT // 2) for kind in "pn"]
        assert sorted(policies.asked) == sorted(names)
        for at, name in enumerate(policies.asked):
            assert abs(names.index(name) - at) < ANSWERED_AT_ONCE
        assert len(requests.tries) == COUNT
        assert set(requests.tries.values()) == {2}, "each answer was lost once, and sent again"
        assert max(policies.most, requests.most) <= ANSWERED_AT_ONCE


async def test_leaving_denies_all_open_requests_a_bounded_number_at_a_time(
    autojump_clock: MockClock,
) -> None:
    async def hangs(_request: ev.PermissionEvent, _: object) -> bool:
        await trio.sleep_forever()

    for api in APIS:
        for policy in (None, hangs):
            requests = Requests(0.1)
            async with (
                MixServer(api, listen=False, slow_reader_limit=None) as server,
                Mix(server.url, network=server.network, hooks=requests.hooks) as mix,
            ):
                questions = [permission(number) for number in range(COUNT)]
                server.script("run", Turn(*questions, Say("Asked."), Pause(60)))
                async with mix.open_stream(
                    server.create_session(), on_permission=policy
                ) as session:
                    async with session.send("run") as message:
                        async for event in message:
                            if isinstance(event, ev.ContentEvent):
                                break
                    assert len(requests.tries) == COUNT
                    assert requests.active == 0
                    assert requests.most <= ANSWERED_AT_ONCE


async def test_denials_that_hang_are_given_up_together(autojump_clock: MockClock) -> None:
    requests = Requests(10_000)
    async with (
        MixServer(listen=False, slow_reader_limit=None) as server,
        Mix(server.url, network=server.network, hooks=requests.hooks) as mix,
    ):
        questions = [permission(number) for number in range(COUNT)]
        server.script("run", Turn(*questions, Say("Asked."), Pause(60)))
        server.script("next", Turn(Say("Here.")))
        async with mix.open_stream(server.create_session()) as session:
            async with session.send("run") as message:
                async for event in message:
                    if isinstance(event, ev.ContentEvent):
                        break
            assert (await session.ask("next")).text == "Here."
    assert requests.tries.total() == ANSWERED_AT_ONCE
    assert requests.active == 0


def test_too_many_open_questions_are_warned_about_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asks(number: int) -> ev.PermissionEvent:
        return ev.PermissionEvent(
            permission_id=str(number), session_id="s", tool_name="", description="", action=""
        )

    monkeypatch.setattr(_questions, "MOST_OPEN", 20)
    monkeypatch.setattr(_questions, "MOST_WAITING_BYTES", 20)
    questions = Questions({ev.PermissionEvent: lambda _: True})
    assert [questions.add(asks(number)) for number in range(22)] == [True] * 20 + [False] * 2
    assert len(caplog.records) == 1
    assert "unanswered" in caplog.text
    questions.answered(asks(7))
    assert not questions.add(asks(7))
    assert questions.add(asks(20))
    caplog.clear()
    questions = Questions({ev.PermissionEvent: lambda _: True})
    for number in range(3):
        questions.put(asks(number), 15)
    assert questions.next() == asks(0)
    assert questions.next() is None
    assert len(caplog.records) == 1
