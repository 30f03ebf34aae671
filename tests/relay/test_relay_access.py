"""Who may do what: tokens, verbs, hosts, origins, paths; and that a token goes nowhere."""

from __future__ import annotations

import base64
import hashlib
import logging
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.relay_http import ScriptedHub, open_http
from tests.support.wire_client import call, open_frames
from trio_mix.relay._access import access_of, segments_of, upstream_target
from trio_mix.relay._exchange import RequestHead
from trio_mix.relay._grants import Auth, Grant
from trio_mix.relay._problem import Problem
from trio_mix.testing import MixServer

if TYPE_CHECKING:
    from pathlib import Path

READER, OWNER, SENDER = "reader-token", "owner-token", "sender-token"


@pytest.fixture
def auth(tmp_path: Path) -> Auth:
    rows = (
        (READER, '["s"]', '["read"]'),
        (SENDER, '["s"]', '["send", "decide", "cancel"]'),
        (OWNER, '"*"', '["read", "send", "decide", "cancel", "manage"]'),
    )
    path = tmp_path / "tokens.toml"
    path.write_text(
        "\n".join(
            f"[[token]]\nsha256 = '{hashlib.sha256(token.encode()).hexdigest()}'\n"
            f"subject = '{token}'\nsessions = {sessions}\nmay = {may}"
            for token, sessions, may in rows
        )
    )
    return Auth.tokens(path)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def basic(credentials: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}


JSON = {"Content-Type": "application/json"}
REQUESTS = (
    # method, target, status for: nobody, reader, sender, owner
    ("GET", "/stream?sessionId=nobody", (401, 404, 404, 404)),
    ("GET", "/api/sessions/s", (401, 404, 403, 404)),
    ("GET", "/api/sessions/other", (401, 404, 404, 404)),
    ("DELETE", "/api/sessions/s", (401, 403, 403, 404)),
    ("POST", "/api/sessions", (401, 403, 403, 400)),
    ("POST", "/api/sessions/s/messages", (401, 403, 202, 202)),
    ("POST", "/api/sessions/other/messages", (401, 404, 404, 404)),
    ("POST", "/api/sessions/s/cancel", (401, 403, 200, 200)),
    ("POST", "/api/permissions/p/grant", (401, 403, 200, 200)),
    ("POST", "/api/permissions/foreign/grant", (401, 403, 404, 200)),
    ("GET", "/api/tools", (401, 403, 403, 200)),
    ("GET", "/health", (401, 200, 200, 200)),
    ("GET", "/relay/turns/none", (401, 404, 404, 404)),
    ("GET", "/relay/health/live", (200, 200, 200, 200)),
    ("GET", "/relay/health/ready", (401, 200, 200, 200)),
    ("GET", "/relay/metrics", (401, 200, 200, 200)),
    ("GET", "/relay/nothing", (401, 404, 404, 404)),
)


async def test_each_request_needs_a_token_a_verb_and_a_session(auth: Auth) -> None:
    hub = ScriptedHub()
    hub.add("s")
    hub.requests_of = {"p": "s", "foreign": "other"}
    async with (
        MixServer("async", listen=False) as server,
        open_http(hub, server, auth=auth, loopback=False) as relay,
    ):
        for method, target, expected in REQUESTS:
            body = {"text": "hi"} if target.endswith("messages") else None
            found = []
            for headers in ({}, bearer(READER), bearer(SENDER), bearer(OWNER)):
                answer = await call(relay, method, target, body, headers | JSON)
                found.append(answer.status)
                if answer.status in (401, 403):
                    assert answer.json["error"]["code"] == answer.status
                if answer.status == 401:
                    assert "www-authenticate" in answer.headers
            assert tuple(found) == expected, target


async def test_a_token_is_found_in_header_cookie_and_query(auth: Auth) -> None:
    hub = ScriptedHub()
    hub.add("s")
    async with open_http(hub, auth=auth) as relay:
        for target, headers in (
            ("/relay/sessions/s/presence", bearer(READER)),
            ("/relay/sessions/s/presence", basic(f":{READER}")),
            ("/relay/sessions/s/presence", {"Cookie": f"a=b; mix_relay={READER}; c=d"}),
            (f"/relay/sessions/s/presence?relay_token={READER}", {}),
        ):
            assert (await call(relay, "GET", target, None, headers)).status == 200
        for target, headers in (
            ("/relay/sessions/s/presence", bearer("wrong")),
            ("/relay/sessions/s/presence", {"Authorization": f"Basic {READER}"}),
            ("/relay/sessions/s/presence", basic("user:wrong")),
            ("/relay/sessions/s/presence?relay_token=wrong", {}),
            (f"/relay/sessions/s/presence?token={READER}", {}),
            (f"/relay/sessions/s/presence?relay_token={READER}", bearer("wrong")),
        ):
            assert (await call(relay, "GET", target, None, headers)).status == 401


async def test_a_token_reaches_neither_the_server_nor_the_log(
    auth: Auth, caplog: pytest.LogCaptureFixture
) -> None:
    hub = ScriptedHub()
    with caplog.at_level(logging.DEBUG):
        async with MixServer("async", listen=False) as server:
            async with open_http(hub, server, auth=auth) as relay:
                headers = bearer(OWNER) | {"Cookie": f"mix_relay={OWNER}", "X-Kept": "1"}
                target = f"/api/sessions?relay_token={OWNER}&relay=1&limit=3"
                assert (await call(relay, "GET", target, None, headers)).status == 200
                await call(relay, "GET", f"/api/nothing?relay_token={OWNER}", None, headers)
            seen = server.requests(path="/api")
    assert [(request.path, dict(request.query)) for request in seen] == [
        ("/api/sessions", {"limit": "3"}),
        ("/api/nothing", {}),
    ]
    assert seen[0].headers["x-kept"] == "1"
    assert OWNER not in repr([request.headers for request in seen])
    assert OWNER not in caplog.text


async def test_a_list_of_sessions_has_only_those_of_the_token(auth: Auth) -> None:
    hub = ScriptedHub()
    async with MixServer("async", listen=False, id_prefix="") as server:
        first = server.create_session(title="mine")
        server.create_session(title="other")
        async with open_http(hub, server, auth=auth) as relay:
            everything = await call(relay, "GET", "/api/sessions", None, bearer(OWNER))
            assert len(everything.json) == 2
            nothing = await call(relay, "GET", "/api/sessions", None, bearer(READER))
            assert nothing.json == []
            grant = Grant(subject="x", sessions=frozenset({first}), verbs=frozenset({"read"}))
            relay.routes._auth.check = lambda _: grant  # type: ignore[method-assign, union-attr]
            mine = await call(relay, "GET", "/api/sessions", None, {})
            assert [row["id"] for row in mine.json] == [first]


async def test_a_stream_ends_when_its_token_expires(autojump_clock: object) -> None:
    hub = ScriptedHub()
    feed = hub.add("s")
    grant = Grant(
        subject="x",
        sessions=frozenset({"s"}),
        verbs=frozenset({"read"}),
        expires_at=time.time() + 100,
    )
    auth = Auth()
    auth.check = lambda _: grant  # type: ignore[method-assign, assignment]
    async with open_http(hub, auth=auth) as relay, open_frames(relay, "s") as stream:
        relay.streams.announce("session_created", "{}", "foreign")
        feed.append("content", "{}")
        frames = [frame.event for frame in await stream.rest()]
        assert frames[0] == "content"
        assert set(frames[1:]) == {"heartbeat"}
        assert 5 <= len(frames) - 1 <= 7
        assert stream.ended == "clean"


ORIGINS = (
    # method, Host, Origin, status, whether a page can read the response
    ("GET", "localhost:8090", None, 200, False),
    ("GET", "127.0.0.1", None, 200, False),
    ("GET", "evil.example", None, 403, False),
    ("GET", "localhost", "http://evil.example", 200, False),
    ("POST", "localhost", "http://evil.example", 403, False),
    ("POST", "localhost", "http://localhost", 202, False),
    ("POST", "localhost:8090", "https://localhost:8090", 202, False),
    ("POST", "localhost", "http://app.example", 202, True),
    ("POST", "localhost", "null", 403, False),
    ("OPTIONS", "localhost", "http://app.example", 204, True),
    ("OPTIONS", "localhost", "http://evil.example", 403, False),
    ("DELETE", "localhost", "http://evil.example", 403, False),
)


async def test_pages_of_other_origins_may_only_get_unless_they_are_allowed() -> None:
    hub = ScriptedHub()
    hub.add("s")
    async with open_http(hub, origins=("http://app.example",)) as relay:
        for method, host, origin, status, readable in ORIGINS:
            headers = {"Host": host} | JSON | ({} if origin is None else {"Origin": origin})
            get = method == "GET"
            target = "/relay/health/live" if get else "/api/sessions/s/messages"
            body = {"text": "x"} if method == "POST" else None
            answer = await call(relay, method, target, body, headers)
            assert answer.status == status, (method, host, origin)
            allowed = answer.headers.get("access-control-allow-origin")
            assert allowed == (origin if readable else None)


async def test_a_simple_form_of_a_page_cannot_send_a_message() -> None:
    hub = ScriptedHub()
    feed = hub.add("s")
    async with open_http(hub) as relay:
        for kind in ("text/plain", "application/x-www-form-urlencoded", None):
            headers: dict[str, str] = {} if kind is None else {"Content-Type": kind}
            answer = await call(relay, "POST", "/api/sessions/s/messages", b"{}", headers)
            assert answer.status == 415
        headers = {"Sec-Fetch-Site": "cross-site"} | JSON
        answer = await call(relay, "POST", "/api/sessions/s/messages", {"text": "x"}, headers)
        assert answer.status == 403
    assert not feed.sent


async def test_a_relay_in_front_of_a_relay_is_refused() -> None:
    async with open_http(ScriptedHub()) as relay:
        answer = await call(relay, "GET", "/health", None, {"Mix-Relay-Upstream": "1"})
    assert answer.status == 400
    assert "relay" in answer.json["error"]["message"]


ODD_PATHS = (
    "/api/sessions/s/../other/messages",
    "/api/sessions/s/%2e%2e/other",
    "/api/sessions/s%2F..%2Fother",
    "/api//sessions/s",
    "//api/sessions/s",
    "/api/sessions/s%5cother",
    "/api/sessions/s%00",
    "/api/./sessions/s",
    "*",
    "http://other.example/api/sessions",
)


async def test_a_path_that_can_be_read_in_two_ways_is_refused() -> None:
    async with MixServer("async", listen=False) as server:
        async with open_http(ScriptedHub(), server) as relay:
            for path in ODD_PATHS:
                assert (await call(relay, "GET", path)).status == 400, path
        assert not [each for each in server.requests() if "other" in each.path]


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=6), st.sampled_from("GP"))
def test_what_a_path_needs_depends_on_its_segments_only(segments: list[str], first: str) -> None:
    method = "GET" if first == "G" else "POST"
    access = access_of(method, segments)
    if segments[:2] == ["api", "sessions"] and len(segments) > 2:
        assert access.session_id == segments[2]
    assert access.verb is not None or segments == ["health"]
    if method == "POST" and access.session_id is None:
        assert access.verb in ("manage", "decide")


@given(st.text(alphabet="/.%2eEfF\\ab", max_size=20))
def test_segments_are_unambiguous_or_refused(path: str) -> None:
    try:
        segments = segments_of("/" + path)
    except Problem:
        return
    assert all("/" not in segment and "\\" not in segment for segment in segments)
    assert not {".", ".."} & set(segments)
    assert "" not in segments[:-1]


@given(
    st.lists(
        st.sampled_from(["a=1", "relay=1", "relay_token=x", "r%65lay_token=y", "token=z", "", "b"]),
        max_size=6,
    )
)
def test_the_parameters_of_the_relay_are_not_passed_on(pairs: list[str]) -> None:
    target = "/x?" + "&".join(pairs)
    head = RequestHead("GET", "/x", [], {}, target, "1.1")
    kept = [pair for pair in pairs if "lay" not in pair]
    assert upstream_target(head).partition("?")[2] == "&".join(kept)


def test_a_path_that_is_not_utf_8_is_refused() -> None:
    for path in ("/relay/turns/%ff", "/api/sessions/%ed%a0%80/cancel"):
        with pytest.raises(Problem) as caught:
            segments_of(path)
        assert caught.value.status == 400
