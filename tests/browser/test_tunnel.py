"""Commands through the tunnel, with a browser that the test scripts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.support.devtools_kit import TOKEN
from trio_mix import StreamState
from trio_mix.browser import BrowserGone
from trio_mix.testing import TunnelMessage

if TYPE_CHECKING:
    from tests.support.devtools_kit import Bench, Message

NOT_FOUND: dict[str, Any] = {"error": {"code": -32601, "message": "wasn't found"}}


async def test_a_command_is_passed_to_the_browser_and_its_answer_is_sent_back(bench: Bench) -> None:
    async with bench.tunnel() as tunnel:
        assert tunnel.state is StreamState.CONNECTED
        answer = await bench.end.command(
            "DOM.x", {"a": [1, "ö"]}, id="my-id", session_id="S", browser_id="B"
        )
        assert answer == {"id": "my-id", "browserId": "B", "result": {"did": "DOM.x"}}
        (asked,) = bench.browser.asked
        assert asked == {
            "id": asked["id"],
            "method": "DOM.x",
            "params": {"a": [1, "ö"]},
            "sessionId": "S",
        }
        assert isinstance(asked["id"], int)
        statistics = tunnel.statistics()
        assert (statistics.commands, statistics.answers, statistics.pending) == (1, 1, 0)


async def test_two_commands_with_one_id_do_not_clash(bench: Bench) -> None:
    bench.browser.answers["X.y"] = None
    async with bench.tunnel(), trio.open_nursery() as nursery:
        answers: dict[str, Message] = {}

        async def ask(target: str) -> None:
            answers[target] = await bench.end.command("X.y", id=1, session_id=target)

        for target in ("one", "two"):
            nursery.start_soon(ask, target)
            await bench.browser.wait_asked(len(answers) + (1 if target == "one" else 2))
        first, second = bench.browser.asked
        assert first["id"] != second["id"]
        await bench.browser.answer(0, {"result": {"target": first["sessionId"]}})
        await bench.browser.answer(1, {"result": {"target": second["sessionId"]}})
    assert {target: answer["result"] for target, answer in answers.items()} == {
        "one": {"target": "one"},
        "two": {"target": "two"},
    }


async def test_commands_are_passed_on_at_once_and_answers_keep_their_order(
    bench: Bench,
) -> None:
    bench.browser.answers["Runtime.alert"] = None
    answered: list[str] = []
    async with bench.tunnel() as tunnel, trio.open_nursery() as nursery:

        async def ask(method: str, target: str) -> None:
            await bench.end.command(method, session_id=target)
            answered.append(f"{method} {target}")

        nursery.start_soon(ask, "Runtime.alert", "page")
        await bench.browser.wait_asked(1)
        # The first command waits for this one, so this one must not be queued behind it.
        nursery.start_soon(ask, "Page.closeAlert", "page")
        await bench.browser.wait_asked(2)
        await ask("Page.other", "another")
        assert answered == ["Page.other another"]
        assert tunnel.statistics().pending == 1
        await bench.browser.answer(0, {"result": {}})
    assert answered == ["Page.other another", "Runtime.alert page", "Page.closeAlert page"]


async def test_events_of_the_browser_are_not_sent_to_the_server(bench: Bench) -> None:
    async with bench.tunnel() as tunnel:
        before = tunnel.statistics().events
        for number in range(5):
            await bench.browser.send({"method": "Network.x", "params": {"n": number}})
        await bench.end.command("X.y", session_id="S")
        assert tunnel.statistics().events == before + 5
        assert not any(isinstance(record, TunnelMessage) for record in bench.server.log)


async def test_an_answer_over_the_limit_becomes_an_error_and_the_tunnel_continues(
    bench: Bench,
) -> None:
    async with bench.tunnel() as tunnel:
        bench.browser.answers["X.y"] = {"result": {"text": "x" * 10_000_000}}
        answer: Any = await bench.end.command("X.y", session_id="S", browser_id="B")
        assert "too large for the tunnel: 10,000,0" in answer["error"]["message"]
        assert answer["browserId"] == "B"
        bench.browser.answers["X.y"] = {"result": {"text": "x" * 9_900_000}}
        answer = await bench.end.command("X.y", session_id="S")
        assert len(answer["result"]["text"]) == 9_900_000
        statistics = tunnel.statistics()
        assert (statistics.too_large, statistics.errors, statistics.connects) == (1, 1, 1)


async def test_invalid_messages_of_the_server_are_counted_and_dropped(bench: Bench) -> None:
    async with bench.tunnel() as tunnel:
        for text in ("", "{", "[1]", '{"id": 1}', '{"method": "X.y"}', "\x00", '{"result": {}}'):
            await bench.end.send_text(text)
        assert "result" in await bench.end.command("X.y", session_id="S")
        assert tunnel.statistics().garbage == 6
        assert bench.browser.methods == ["X.y"]


async def test_invalid_messages_of_the_browser_are_counted_and_dropped(bench: Bench) -> None:
    bench.browser.answers["X.y"] = None
    async with bench.tunnel() as tunnel, trio.open_nursery() as nursery:
        nursery.start_soon(bench.end.command, "X.y")
        await bench.browser.wait_asked(1)
        socket = bench.browser.sockets[0]
        for text in ("", "{", "[1]", '{"id": "x"}', '{"id": 77, "result": {}}', '{"method": 5}'):
            await socket.send_message(text)
        await socket.send_message(b"\xff\xfe")
        await bench.browser.answer(0, {"result": {}})
        await bench.end.command("X.z", session_id="S")
        statistics = tunnel.statistics()
        assert (statistics.garbage, statistics.dropped) == (6, 1)


async def test_an_answer_with_lone_surrogates_passes(bench: Bench) -> None:
    async with bench.tunnel():
        bench.browser.answers["X.y"] = {"result": {"text": "\ud800 ö"}}
        answer = await bench.end.command("X.y", session_id="S")
        assert answer["result"] == {"text": "\ud800 ö"}


async def test_a_log_entry_is_sent_to_the_server(bench: Bench) -> None:
    async with bench.tunnel() as tunnel:
        assert await tunnel.log(level="info", message="ö")
        record = await bench.server.wait_for(TunnelMessage)
        assert record.message == {"type": "browser_log", "level": "info", "message": "ö"}
        assert not await tunnel.log(message="x" * 10_000_001)
        with pytest.raises(ValueError, match="not JSON"):
            await tunnel.log(message=object())
    assert not await tunnel.log(message="too late")


async def test_commands_without_a_session_are_sent_to_the_browser_or_the_first_page(
    bench: Bench,
) -> None:
    browser = bench.browser
    async with bench.tunnel():
        for method in ("Page.go", "Browser.x", "Page.go"):
            assert (await bench.end.command(method))["result"] == {"did": method}
        assert [asked.get("sessionId") for asked in browser.asked] == ["P", None, "P"]
        # The page is closed, and another one is created in the context.
        await browser.send({"method": "Target.targetDestroyed", "params": {"targetId": "T"}})
        await browser.send({"method": "Target.detachedFromTarget", "params": {"sessionId": "P"}})
        browser.answers["Target.createTarget"] = {"result": {"targetId": "N"}}
        browser.answers["Target.attachToTarget"] = {"result": {"sessionId": "Q"}}
        assert (await bench.end.command("Page.go"))["result"] == {"did": "Page.go"}
        assert browser.methods[3:] == ["Target.createTarget", "Target.attachToTarget", "Page.go"]
        assert browser.asked[3]["params"] == {"url": "about:blank", "browserContextId": "C"}
        assert browser.asked[4]["params"] == {"targetId": "N", "flatten": True}
        assert browser.asked[5]["sessionId"] == "Q"


async def test_commands_without_a_session_stay_in_order_while_a_page_is_created(
    bench: Bench,
) -> None:
    browser = bench.browser
    async with bench.tunnel():
        browser.answers["Target.createTarget"] = None
        browser.answers["Target.attachToTarget"] = {"result": {"sessionId": "Q"}}
        await bench.end.command("Browser.x")
        await browser.send({"method": "Target.targetDestroyed", "params": {"targetId": "T"}})
        await browser.send({"method": "Target.detachedFromTarget", "params": {"sessionId": "P"}})
        await bench.end.command("Browser.x")
        for number, method in enumerate(["Page.a", "Page.b", "Browser.c", "Page.a"]):
            await bench.end.send_text(json.dumps({"id": number, "method": method}))
        await browser.wait_asked(3)
        await browser.answer(2, {"result": {"targetId": "N"}})
        await browser.wait_asked(8)
        assert browser.methods[3:] == [
            *("Target.attachToTarget", "Page.a", "Page.b", "Browser.c", "Page.a")
        ]
        record = await bench.server.wait_for(TunnelMessage, count=4)
        assert record.message["id"] == 3


async def test_a_page_that_cannot_be_created_is_an_error(bench: Bench) -> None:
    browser = bench.browser
    async with bench.tunnel():
        await bench.end.command("Browser.x")
        await browser.send({"method": "Target.targetDestroyed", "params": {"targetId": "T"}})
        await browser.send({"method": "Target.detachedFromTarget", "params": {"sessionId": "P"}})
        for made, expected in (
            (NOT_FOUND, "wasn't found"),
            ({"result": {}}, "did not create a page"),
        ):
            browser.answers["Target.createTarget"] = made
            answer: Any = await bench.end.command("Page.go")
            assert expected in answer["error"]["message"]


async def test_commands_to_the_endpoint_of_a_page_are_sent_to_it(bench: Bench) -> None:
    bench.browser.answers["No.such"] = NOT_FOUND
    async with bench.tunnel(cdp_url=bench.browser.url.replace("browser/1", "page/1")) as tunnel:
        assert (await bench.end.command("No.such"))["error"] == NOT_FOUND["error"]
        answer: Any = await bench.end.command("Target.getTargets")
        assert "has one page and no other targets" in answer["error"]["message"]
        assert bench.browser.methods == ["No.such"]
        assert tunnel.statistics().denied == 1


async def test_a_command_whose_page_is_closed_or_has_crashed_is_answered_at_once(
    bench: Bench,
) -> None:
    bench.browser.answers["X.y"] = None
    answers: list[Any] = []

    async def ask() -> None:
        answers.append(await bench.end.command("X.y", session_id="S"))

    events: list[Message] = [
        {"method": "Inspector.targetCrashed", "sessionId": "S"},
        {"method": "Target.targetCrashed", "params": {"targetId": "T"}},
        {"method": "Target.detachedFromTarget", "params": {"sessionId": "S"}},
    ]
    async with bench.tunnel():
        for count, event in enumerate(events, 1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await bench.browser.wait_asked(count)
                await bench.browser.send(event)
    for answer, expected in zip(answers, ("crashed", "crashed", "detached"), strict=True):
        assert expected in answer["error"]["message"]


async def test_a_lost_browser_ends_the_tunnel_after_its_commands_were_answered(
    bench: Bench,
) -> None:
    bench.browser.answers["X.y"] = None
    answers: list[Any] = []
    async with bench.tunnel() as tunnel, trio.open_nursery() as nursery:

        async def ask() -> None:
            answers.append(await bench.end.command("X.y", session_id="S"))

        nursery.start_soon(ask)
        await bench.browser.wait_asked(1)
        nursery.start_soon(bench.browser.sockets[0].aclose)
        with pytest.raises(BrowserGone, match="was lost: it was closed with 1000") as caught:
            await tunnel.wait_closed()
        assert tunnel.state is StreamState.CLOSED
        with pytest.raises(BrowserGone):
            await tunnel.wait_connected()
    assert "the browser was lost" in answers[0]["error"]["message"]
    error = caught.value
    assert error.session_id == bench.session
    assert error.url == tunnel.url
    assert TOKEN not in f"{error}{error.url}{tunnel!r}"
    assert "open a new tunnel" in str(error)


async def test_the_error_that_ended_the_tunnel_is_raised_on_exit_unless_it_was_raised_before(
    bench: Bench,
) -> None:
    with pytest.raises(BrowserGone):
        async with bench.tunnel() as tunnel:
            await bench.browser.sockets[0].aclose()
            while tunnel.state is not StreamState.CLOSED:
                await trio.lowlevel.checkpoint()
    async with bench.tunnel() as tunnel:
        await bench.browser.sockets[0].aclose()
        with pytest.raises(BrowserGone):
            await tunnel.wait_closed()
