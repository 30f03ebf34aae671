"""The caller's policy for notifications: what is answered, and what fails a message.

Rules:

1. The policy's result is sent as the notification's ``response_type`` asks for it.
2. A result that does not fit, and an exception, fail the message; nothing is answered.
3. A policy that cannot be called is refused by ``open_stream``.
4. Nothing waits in silence: a warning names a notification that nothing answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from trio_mix import Mix, errors
from trio_mix.testing import MixServer, NotificationAnswered, Notify, Say, SubAgent, Turn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

    from trio_mix import Message, SessionStream
    from trio_mix.events import NotificationEvent
    from trio_mix.testing import Step

    Policy = Callable[[NotificationEvent, Message], object]

ACKNOWLEDGE = Notify("The disk is nearly full.", title="Disk", kind="warning")
TEXT = Notify("Which name?", title="Name", kind="question", response="text")
CHOICE = Notify("Which one?", title="Pick", response="choice", choices=("red", "blue"))


async def ask(session: SessionStream) -> str:
    with trio.fail_after(300):
        return (await session.ask("go")).text


async def deltas(session: SessionStream) -> str:
    async with session.send("go") as message:
        return "".join([piece async for piece in message.text_deltas()])


async def sent(
    policy: Policy | None,
    *steps: Step,
    use: Callable[[SessionStream], Awaitable[str]] = ask,
) -> list[tuple[str, str | None]]:
    """Return the answers that reached the server while a message with these steps ran."""
    async with (
        MixServer("async", listen=False, pace=0.0) as server,
        Mix(server.url, network=server.network) as mix,
    ):
        server.script("go", Turn(*steps, Say("Thank you.")))
        async with mix.open_stream(
            server.create_session(),
            on_notification=policy,  # type: ignore[arg-type]  # invalid ones too
        ) as session:
            reply = await use(session)
        assert reply == "Thank you."
        return [(r.type, r.value) for r in server.log if isinstance(r, NotificationAnswered)]


async def test_the_result_of_a_policy_is_sent_as_the_notification_asks_for_it() -> None:
    def now(notification: NotificationEvent, _message: Message) -> str | None:
        return {"Disk": None, "Name": "Émile — 你", "Pick": "blue"}[notification.title]

    async def later(notification: NotificationEvent, message: Message) -> str | None:
        assert message.text == "go"
        await trio.lowlevel.checkpoint()
        return now(notification, message)

    for policy in (now, later):
        answered = await sent(policy, ACKNOWLEDGE, TEXT, SubAgent(CHOICE))
        assert answered == [("acknowledge", None), ("text", "Émile — 你"), ("choice", "blue")]


async def test_a_policy_that_answers_every_notification_with_a_text_may_also_acknowledge() -> None:
    assert await sent(lambda _n, _m: "yes", ACKNOWLEDGE) == [("acknowledge", "yes")]


async def test_a_result_that_does_not_fit_fails_the_message_and_says_what_to_return() -> None:
    async def answer() -> str:
        await trio.lowlevel.checkpoint()
        return "x"

    async def forgets(_notification: object, _message: object) -> object:
        await trio.lowlevel.checkpoint()
        return answer()

    cases: list[tuple[Policy, Notify, str]] = [
        (lambda _n, _m: None, TEXT, "NoneType .* 'text'.*return a text"),
        (lambda _n, _m: None, CHOICE, "NoneType .*return one of notification.choices"),
        (lambda _n, _m: "green", CHOICE, "not one of its choices"),
        (lambda _n, _m: True, ACKNOWLEDGE, "bool .*return None to acknowledge"),
        (forgets, TEXT, "a coroutine that was never awaited"),
    ]
    for policy, notification, text in cases:
        with pytest.raises(errors.UsageError, match=f"on_notification returned .*{text}"):
            await sent(policy, notification)


async def test_an_exception_of_a_policy_reaches_the_sender() -> None:
    def policy(_notification: NotificationEvent, _message: Message) -> str:
        raise KeyError("my mistake")

    with pytest.raises(KeyError, match="my mistake"):
        await sent(policy, TEXT)


async def test_a_policy_that_cannot_be_called_is_refused_by_open_stream() -> None:
    async with Mix("http://mix.test") as mix:
        for policy, why in ((lambda: None, "2 arguments"), ("yes", "not callable")):
            with pytest.raises(errors.ConfigurationError, match=f"on_notification.*{why}"):
                mix.open_stream("s", on_notification=policy)  # type: ignore[arg-type]


@pytest.mark.parametrize("use", [ask, deltas])
async def test_a_notification_that_nothing_answers_is_logged_once(
    use: Callable[[SessionStream], Awaitable[str]],
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hidden = Notify("key-of-mine", title="One\ntwo\x1b[31m" + "t" * 5000, timeout=3)
    assert await sent(None, hidden, hidden, use=use) == []
    (record,) = caplog.records
    text = record.getMessage()
    assert (record.name, record.levelname) == ("trio_mix", "WARNING")
    assert "response to a notification (info: One two" in text
    assert "nothing answers it: pass on_notification=..., or iterate the message" in text
    assert text.isprintable()
    assert len(text) < 500
    assert "key-of-mine" not in text


async def test_a_response_type_of_a_newer_server_is_logged_and_not_put_to_the_policy(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    newer = Notify("Well?", response="wave", timeout=3)  # type: ignore[arg-type]
    assert await sent(lambda _n, _m: "hi", newer) == []
    (record,) = caplog.records
    assert "its response_type is 'wave'" in record.getMessage()
