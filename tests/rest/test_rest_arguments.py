"""What is sent, and what is refused before anything is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cases import case
from tests.support.rest_kit import ONCE, answer, refusal, their_client
from tests.support.rest_operations import OPERATIONS
from tests.support.rest_samples import SESSION
from trio_mix import Mix, models
from trio_mix._rest._core import MixCore
from trio_mix._rest._operation import quote_segment
from trio_mix._rest._options import BackoffStrategy, RequestOptions, RetryConfig
from trio_mix.browser import open_tunnel
from trio_mix.errors import ConfigurationError, ErrorResponse
from trio_mix.resources import Files, Messages, Notifications, Sessions, Streaming

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.rest_kit import Canned

AWKWARD = [
    "a/b",
    "a?b=c#d",
    "..",
    ".",
    "../../etc/passwd",
    "é ☃",
    "a\r\nX-Evil: 1",
    "a%2Fb",
    "{filename}",
    "\0",
    "a b+c",
    ";:@&=",
]


@pytest.mark.parametrize("client", ["own", "httpx", "httpx2"])
async def test_an_awkward_id_stays_one_segment_of_the_path(client: str, server: Canned) -> None:
    server.say(answer(204))
    theirs = their_client(client)
    async with MixCore(server.url, retries=ONCE, http_client=theirs) as core:
        for text in AWKWARD:
            with case(text):
                await Files(core).delete(id=text, filename=text)
                asked = server.asked[-1]
                before, _, rest = asked.target.partition("/api/sessions/")
                session, middle, filename = rest.split("/")
                assert (before, middle) == ("", "files")
                assert unquote(session) == unquote(filename) == text
                assert session not in (".", "..")
                assert "x-evil" not in asked.headers
        if theirs is not None:
            await theirs.aclose()


@given(st.text(min_size=1))
def test_any_text_is_one_segment_that_no_url_library_resolves(text: str) -> None:
    segment = quote_segment(text)
    assert httpx.URL(f"http://h/a/{segment}/b").raw_path == f"/a/{segment}/b".encode()


async def test_a_session_id_in_the_query_is_quoted(server: Canned, core: MixCore) -> None:
    server.say(answer(200, raw=b"", headers={"Content-Type": "text/event-stream"}))
    async with Streaming(core).stream_events(session_id="a&b=c/../é\r\n", last_event_id="7"):
        pass
    assert server.asked[0].target == "/stream?sessionId=a%26b%3Dc%2F..%2F%C3%A9%0D%0A"
    assert server.asked[0].headers["last-event-id"] == "7"


async def test_what_no_header_can_carry_is_refused_and_not_shown(
    server: Canned, core: MixCore
) -> None:
    for bad in ("a\r\nX-Evil: 1", "a\n", "\0", "☃"):
        with pytest.raises(ConfigurationError, match="x-token") as caught:
            await Sessions(core).list(options=RequestOptions(headers={"x-token": "secret" + bad}))
        assert "secret" not in str(caught.value), bad
    for bad in ("a\r\nX-Evil: 1", "a\n", "\0"):
        with pytest.raises(ConfigurationError, match="last_event_id"):
            await Streaming(core).stream_events(session_id="s", last_event_id=bad)
    assert server.asked == []


async def test_an_event_id_beyond_latin_1_is_sent_in_utf_8_as_the_standard_says(
    server: Canned, core: MixCore
) -> None:
    server.say(answer(200, raw=b"", headers={"Content-Type": "text/event-stream"}))
    async with Streaming(core).stream_events(session_id="s", last_event_id="☃"):
        pass
    assert server.asked[0].headers["last-event-id"].encode("latin-1").decode() == "☃"


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("messages.get_history", {"limit": 0}),
    ("messages.get_history", {"limit": 1001}),
    ("messages.get_history", {"limit": "5"}),
    ("messages.get_history", {"limit": True}),
    ("messages.get_history", {"limit": 1.5}),
    ("messages.get_history", {"offset": -1}),
    ("messages.send", {"id": "", "text": "hi"}),
    ("messages.send", {"id": None, "text": "hi"}),
    ("messages.send", {"id": 5, "text": "hi"}),
    ("messages.send", {"id": "s", "text": None}),
    ("messages.send", {"id": "s", "text": b"hi"}),
    ("messages.send", {"id": "s", "text": "\ud800"}),
    ("messages.send", {"id": "s", "text": "hi", "plan_mode": "yes"}),
    ("messages.send", {"id": "s", "text": "hi", "thinking_level": "huge"}),
    ("messages.send", {"id": "s", "text": "hi", "max_steps": 0}),
    ("messages.send", {"id": "s", "text": "hi", "media": "a.png"}),
    ("messages.send", {"id": "s", "text": "hi", "apps": [1]}),
    ("messages.send", {"id": "s", "text": "hi", "media": ["\udc00"]}),
    ("notifications.respond", {"id": "n", "type": "shout"}),
    ("sessions.create", {"title": "t", "browser_mode": "netscape"}),
    ("sessions.create", {"title": "t", "prompt_mode": "prepend"}),
    ("sessions.create", {"title": "t", "session_type": "subagent"}),
    ("sessions.create", {"title": "t", "callbacks": [{"toolName": "Bash"}]}),
    ("sessions.create", {"title": "t", "callbacks": [models.Callback(tool_name="x", type="y")]}),
    ("sessions.fork", {"id": "s", "message_index": -1}),
    ("authentication.store_api_key", {"api_key": "k", "provider": "nobody"}),
    ("files.get", {"id": "s", "filename": "f", "thumb": "x100"}),
    ("files.get", {"id": "s", "filename": "f", "time": 86401}),
    ("files.get", {"id": "s", "filename": "f", "time": -1}),
    ("files.get", {"id": "s", "filename": "f", "time": math.nan}),
    ("files.get", {"id": "s", "filename": ""}),
]


async def test_arguments_outside_the_specification_are_refused_before_any_io(
    server: Canned, core: MixCore
) -> None:
    for name, args in REFUSED:
        with case(name, args), pytest.raises(ConfigurationError, match=name.replace(".", r"\.")):
            await core._caller.call(OPERATIONS[name], args)
    assert server.asked == []


async def test_a_secret_argument_is_not_shown_when_it_is_refused(core: MixCore) -> None:
    key: Any = b"sk-secret"
    with pytest.raises(ConfigurationError) as caught:
        await core._caller.call(
            OPERATIONS["authentication.store_api_key"], {"api_key": key, "provider": "openai"}
        )
    assert "sk-secret" not in str(caught.value)


async def test_arguments_that_are_not_given_are_not_sent(server: Canned, core: MixCore) -> None:
    server.say(answer(202, {"status": "processing", "sessionId": "s"}))
    messages = Messages(core)
    await messages.send(id="s", text="hi")
    await messages.send(id="s", text="hi", plan_mode=False, media=[], apps=("a",))
    assert [asked.json for asked in server.asked] == [
        {"text": "hi"},
        {"text": "hi", "plan_mode": False, "media": [], "apps": ["a"]},
    ]


async def test_callbacks_are_sent_in_the_wire_s_names_without_what_is_not_set(
    server: Canned, core: MixCore
) -> None:
    server.say(answer(200, SESSION))
    callback = models.Callback(
        tool_name="Bash", type="bash_script", bash_command="make", bash_timeout=1000
    )
    await Sessions(core).update_session_callbacks(id="s", callbacks=(callback,))
    assert server.asked[0].json == {
        "callbacks": [
            {
                "toolName": "Bash",
                "type": "bash_script",
                "bashCommand": "make",
                "bashTimeout": 1000,
            }
        ]
    }


async def test_browser_mode_is_sent_when_the_server_requires_it(
    server: Canned, core: MixCore
) -> None:
    server.say(refusal(400, "browserMode is required"), answer(201, SESSION))
    session = await Sessions(core).create(title="T")
    assert session.id == "s1"
    assert [asked.json for asked in server.asked] == [
        {"title": "T"},
        {"title": "T", "browserMode": "local-browser-service"},
    ]


async def test_a_server_that_wants_browser_mode_is_asked_with_it_from_then_on(
    server: Canned, core: MixCore
) -> None:
    made = answer(201, SESSION)
    server.say(refusal(400, "browserMode is required"), made, made)
    sessions = Sessions(core)
    for _ in range(2):
        await sessions.create(title="T")
    server.say(refusal(400, 'unknown field "browserMode"'), made, made)
    for _ in range(2):
        await sessions.create(title="T")
    modes = [asked.json.get("browserMode") for asked in server.asked]
    assert modes == [None, *["local-browser-service"] * 3, None, None]


async def test_browser_mode_is_not_added_for_any_other_reason(
    server: Canned, core: MixCore
) -> None:
    cases: list[tuple[bytes, dict[str, Any]]] = [
        (refusal(400, "title is too long"), {}),
        (refusal(500, "browserMode is broken"), {}),
        (refusal(400, "browserMode is wrong"), {"browser_mode": "remote-cdp-websocket"}),
    ]
    for refused, args in cases:
        server.asked.clear()
        server.say(refused)
        with case(refused), pytest.raises(ErrorResponse):
            await Sessions(core).create(title="T", **args)
        assert len(server.asked) == 1


WRONG_SETTINGS: list[Callable[[], object]] = [
    lambda: BackoffStrategy(initial_interval=-1),
    lambda: BackoffStrategy(max_interval=math.inf),
    lambda: BackoffStrategy(exponent=0.5),
    lambda: BackoffStrategy(max_elapsed_time=math.nan),
    lambda: RetryConfig(strategy="sometimes"),  # type: ignore[arg-type]
    lambda: RetryConfig(backoff=5),  # type: ignore[arg-type]
    lambda: RequestOptions(timeout=0),
    lambda: RequestOptions(timeout=True),
    lambda: RequestOptions(retry_codes=["5xx"]),
    lambda: RequestOptions(retry_codes=["99"]),
    lambda: RequestOptions(retries=5),  # type: ignore[arg-type]
    lambda: RequestOptions(server_url="other"),
    lambda: RequestOptions(server_url="http://h?a"),
    lambda: RequestOptions(send_client_headers=1),  # type: ignore[arg-type]
    lambda: RetryConfig(retry_connection_errors="no"),  # type: ignore[arg-type]
    lambda: MixCore(timeout=-1),
    lambda: MixCore(retries="none"),  # type: ignore[arg-type]
    lambda: MixCore(headers={"a b": "c"}),
    lambda: MixCore(headers={"a": "b\n"}),
    lambda: MixCore("localhost:8088"),
    lambda: MixCore("ftp://localhost"),
    lambda: MixCore("http://"),
    lambda: MixCore(""),
    lambda: MixCore("http://h/?a=b"),
    lambda: MixCore("http://h/#a"),
    lambda: MixCore("http://h:99999"),
    lambda: MixCore("http://xn--a.test"),
    lambda: Mix(max_buffered_size="big"),  # type: ignore[arg-type]
    lambda: Mix().open_stream("s", reconnect=5),  # type: ignore[arg-type]
    lambda: Mix().open_stream("s", last_event_id=5),  # type: ignore[arg-type]
    lambda: Mix().open_stream("s", message_buffer=1.5),  # type: ignore[arg-type]
]


def test_settings_that_cannot_work_are_refused_where_they_are_written() -> None:
    for number, make in enumerate(WRONG_SETTINGS):
        with case(f"WRONG_SETTINGS[{number}]"), pytest.raises(ConfigurationError):
            make()
    assert RequestOptions(retry_codes=(500, "4XX")).retry_codes == ("500", "4XX")  # type: ignore[arg-type]


def test_settings_have_the_defaults_of_the_api_s_retry_extension() -> None:
    assert RetryConfig() == RetryConfig(
        strategy="backoff",
        backoff=BackoffStrategy(
            initial_interval=0.5, max_interval=60.0, exponent=1.5, max_elapsed_time=600.0
        ),
        retry_connection_errors=True,
    )
    assert BackoffStrategy(max_elapsed_time=None).max_elapsed_time is None
    assert RequestOptions() == RequestOptions(
        timeout=None, retries=None, retry_codes=None, headers=None, server_url=None
    )


def test_the_address_comes_from_the_argument_then_the_environment_then_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MIX_SERVER_URL", raising=False)
    assert MixCore().server_url == "http://localhost:8088"
    monkeypatch.setenv("MIX_SERVER_URL", "http://elsewhere:1/mix/")
    assert MixCore().server_url == "http://elsewhere:1/mix"
    assert MixCore()._caller.defaults.url_for("/health") == "http://elsewhere:1/mix/health"
    assert MixCore("http://here:2").server_url == "http://here:2"
    monkeypatch.setenv("MIX_SERVER_URL", "elsewhere")
    with pytest.raises(ConfigurationError, match="MIX_SERVER_URL"):
        MixCore()
    options = RequestOptions(server_url="https://other/x/")
    assert (
        MixCore("http://here:2")._caller.defaults.url_for("/health", options)
        == "https://other/x/health"
    )


async def test_another_server_can_be_named_for_one_call(server: Canned) -> None:
    server.say(answer(200, [SESSION]))
    async with MixCore("http://127.0.0.1:9", retries=ONCE) as core:
        await Sessions(core).list(options=RequestOptions(server_url=server.url + "/sub"))
    assert server.asked[0].target == "/sub/api/sessions"


async def test_refusing_an_argument_is_a_checkpoint_too(core: MixCore) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await Notifications(core).respond(id="", type="text")
    assert scope.cancelled_caught


async def test_an_id_that_no_url_can_carry_is_refused_where_it_is_given() -> None:
    async with Mix("http://mix.test") as mix:
        for bad in ("", "a\udcff", 5, None):
            calls: list[Callable[[Any], object]] = [
                mix.open_stream,
                lambda bad: open_tunnel(mix, bad, token="t", cdp_url="ws://127.0.0.1:9"),
            ]
            for number, call in enumerate(calls):
                with case(bad, number), pytest.raises(ConfigurationError, match="session_id"):
                    call(bad)
        for token in ("", "a\udcff"):
            with case(token), pytest.raises(ConfigurationError, match="token"):
                open_tunnel(mix, "s1", token=token, cdp_url="ws://127.0.0.1:9")
