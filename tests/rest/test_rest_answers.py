"""Headers, errors and secrets on real HTTP."""

from __future__ import annotations

import base64
import contextlib
import json
import traceback
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.cases import case
from tests.support.rest_kit import ONCE, answer, core_over, refusal
from tests.support.rest_samples import SESSION
from trio_mix._http import HttpResponse
from trio_mix._redact import MASK, Redactor
from trio_mix._rest._core import MixCore
from trio_mix._rest._options import RequestOptions
from trio_mix.errors import (
    ErrorResponse,
    MixDefaultError,
    MixError,
    RequestTimeout,
    ResponseValidationError,
    UsageError,
)
from trio_mix.resources import Authentication, Sessions, System

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.rest_kit import Asked, Canned


async def test_headers_are_merged_in_whatever_case_and_the_call_s_win(server: Canned) -> None:
    server.say(answer(200, []))
    async with MixCore(
        server.url, headers={"X-One": "1", "x-two": "2", "ACCEPT": "x/y"}, retries=ONCE
    ) as core:
        await Sessions(core).list(options=RequestOptions(headers={"X-TWO": "3"}))
    headers = server.asked[0].headers
    assert (headers["x-one"], headers["x-two"], headers["accept"]) == ("1", "3", "x/y")
    assert headers["user-agent"].startswith("trio-mix/")


async def test_a_headers_function_is_called_for_each_request(server: Canned) -> None:
    count = 0

    def sync_source() -> Mapping[str, str]:
        nonlocal count
        count += 1
        return {"authorization": f"Bearer {count}"}

    async def async_source() -> Mapping[str, str]:
        await trio.lowlevel.checkpoint()
        return sync_source()

    server.say(answer(200, []))
    for source in (sync_source, async_source):
        async with MixCore(server.url, headers=source, retries=ONCE) as core:
            await Sessions(core).list()
            await Sessions(core).list()
    sent = [asked.headers["authorization"] for asked in server.asked]
    assert sent == ["Bearer 1", "Bearer 2", "Bearer 3", "Bearer 4"]


async def test_a_header_function_s_own_exception_comes_out_as_it_is(server: Canned) -> None:
    def source() -> Mapping[str, str]:
        raise LookupError("no token today")

    async with MixCore(server.url, headers=source) as core:
        with pytest.raises(LookupError, match="no token today"):
            await Sessions(core).list()


async def test_user_and_password_of_the_address_become_authorization_and_are_not_shown(
    server: Canned,
) -> None:
    server.answers = lambda asked: answer(400, raw=str(asked.headers).encode())
    url = server.url.replace("://", "://anna:hun%20ter2@")
    async with MixCore(url, retries=ONCE) as core:
        assert "hun" not in repr(core)
        assert core.server_url == server.url
        with pytest.raises(MixDefaultError) as caught:
            await Sessions(core).list()
    sent = server.asked[0].headers["authorization"]
    assert base64.b64decode(sent.removeprefix("Basic ")) == b"anna:hun ter2"
    assert "hun" not in "".join(traceback.format_exception(caught.value))
    assert sent.removeprefix("Basic ") not in caught.value.body


def echo(asked: Asked) -> bytes:
    """An unfriendly server: it says everything back, in every place."""
    said = asked.body.decode() + str(asked.headers)
    return answer(
        500,
        {"error": {"code": 500, "message": said, "type": said}},
        headers={"X-Echo": asked.headers.get("authorization", "")},
    )


async def test_secrets_that_the_server_echoes_are_masked_everywhere(server: Canned) -> None:
    server.answers = echo
    async with MixCore(
        server.url, headers={"authorization": "Bearer tok-12345"}, retries=ONCE
    ) as core:
        with pytest.raises(ErrorResponse) as caught:
            await Authentication(core).store_api_key(
                api_key='sk-"quoted"-1',
                provider="openai",
                options=RequestOptions(headers={"x-key": "key-67890"}),
            )
    error = caught.value
    shown = "".join(traceback.format_exception(error)) + repr(vars(error)) + repr(error.error)
    for secret in ("tok-12345", "quoted", "key-67890"):
        assert secret not in shown
    assert MASK in error.body
    assert MASK in error.headers["x-echo"]


async def test_secrets_in_a_success_that_does_not_fit_are_masked(server: Canned) -> None:
    server.answers = lambda asked: answer(
        200, {**SESSION, "title": [asked.headers["authorization"]]}
    )
    async with MixCore(
        server.url, headers={"authorization": "Bearer tok-12345"}, retries=ONCE
    ) as core:
        with pytest.raises(ResponseValidationError) as caught:
            await Sessions(core).get(id="s1")
    error = caught.value
    assert error.path == "$.title"
    assert error.value == [MASK]
    assert "tok-12345" not in "".join(traceback.format_exception(error)) + repr(vars(error))
    context: BaseException | None = error
    while context is not None:
        assert "tok-12345" not in repr(context)
        context = context.__context__


async def test_a_success_that_does_not_fit_is_shown_masked_and_in_64_kib() -> None:
    secret = "tok-12345"
    filler = b"[" + b"1," * 200_000
    long = "x" * 10**6
    bodies = [
        filler[:1] + f'"{secret}" x,'.encode() + filler[1:] + b"2]",  # a member that is no JSON
        filler[:1] + f"{'x' * 193}{secret},".encode() + filler[1:] + b"2]",
        f"{'x' * 193}{secret}".encode(),
        f'"{"x" * (65536 - 7)}{secret}"'.encode(),
        json.dumps([["x" * (1024 - 7) + secret]]).encode(),
        json.dumps([{long + secret: long}]).encode(),
        json.dumps([[long[:20_000]] * 20] * 20).encode(),
        json.dumps([[[[10**17] * 10] * 10] * 20] * 40).encode(),
    ]
    for number, body in enumerate(bodies):
        response = HttpResponse(
            status_code=200, headers={}, body=body, truncated=False, url="http://mix.test"
        )
        core, _ = core_over([response], retries=ONCE, headers={"x-key": secret})
        with case(number), pytest.raises(ResponseValidationError) as caught:
            await Sessions(core).get(id="s1")
        shown = repr(caught.value.value)
        assert "tok-1" not in shown + str(caught.value) + repr(vars(caught.value))
        assert len(shown) < 2 * 65536


def test_a_secret_that_was_cut_in_two_is_masked() -> None:
    redactor = Redactor(["abcdefgh"])
    assert redactor.text("x abcde", truncated=True) == f"x {MASK}"
    assert redactor.text("x abcde") == "x abcde"
    assert redactor.text("x ab", truncated=True) == "x ab"


def test_a_secret_is_masked_in_the_forms_that_servers_write() -> None:
    for echoed in ("a b/c&d", "a%20b%2Fc%26d", "a+b%2Fc%26d", "a b/c&amp;d", '"a b/c&d"'):
        assert "b" not in Redactor(["a b/c&d"]).text(echoed), echoed


def test_values_too_short_for_a_secret_are_left() -> None:
    assert Redactor(["", "on", "gzi"]).text("onions, gzip") == "onions, gzip"


def test_masking_takes_time_linear_in_the_text_whatever_the_secrets_are() -> None:
    # Compared at each place of the text, these would take many minutes.
    secrets = ["a" * 30_000 + f"b{number}" for number in range(50)]
    text = "a" * 60_000
    assert Redactor(secrets).text(f"{text} {secrets[7].upper()} x") == f"{text} {MASK} x"
    assert Redactor(secrets).text(f"x {text[:100]}", truncated=True) == f"x {MASK}"


async def test_an_error_s_body_is_read_only_in_part(core: MixCore) -> None:
    sent = 0

    async def pour(stream: trio.SocketStream) -> None:
        nonlocal sent
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 500 No\r\nContent-Length: 10000000000\r\n\r\n")
        with contextlib.suppress(trio.BrokenResourceError):
            while True:
                await stream.send_all(b"x" * 10_000)
                sent += 10_000

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, pour, 0, host="127.0.0.1"))
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        options = RequestOptions(server_url=url)
        with trio.fail_after(10), pytest.raises(MixDefaultError) as caught:
            await Sessions(core).list(options=options)
        nursery.cancel_scope.cancel()
    assert len(caught.value.body) == 64 * 1024
    assert sent < 20_000_000  # what the kernel's buffers hold


async def test_an_error_s_body_that_never_ends_is_bounded_in_time(
    server: Canned, core: MixCore
) -> None:
    server.say(b"HTTP/1.1 500 No\r\nContent-Length: 5\r\n\r\nab")
    options = RequestOptions(timeout=0.05)
    with trio.fail_after(10), pytest.raises(RequestTimeout):
        await Sessions(core).list(options=options)


NO_ERROR_BODIES = [
    b"",
    b"plain text",
    b"<html>",
    b"[]",
    b"null",
    b"{}",
    b'{"error": "text"}',
    b'{"error": {"code": 1}}',
    b'{"error": {"message": 5}}',
    b"[" * 50_000,
    b"\xff\xfe",
]


async def test_an_error_without_the_api_s_body_is_a_default_error(
    server: Canned, core: MixCore
) -> None:
    for body in NO_ERROR_BODIES:
        with case(body[:20]):
            server.say(answer(404, raw=body))
            with pytest.raises(MixDefaultError) as caught:
                await Sessions(core).get(id="s1")
            assert caught.value.status_code == 404
            assert caught.value.body == body.decode(errors="replace")


async def test_an_error_s_code_and_type_may_be_missing(server: Canned, core: MixCore) -> None:
    server.say(answer(404, {"error": {"message": "gone", "code": "x", "type": None}}))
    with pytest.raises(ErrorResponse) as caught:
        await Sessions(core).get(id="s1")
    assert (caught.value.error.code, caught.value.error.type) == (404, "")


async def test_a_redirect_to_another_host_is_an_error(server: Canned, core: MixCore) -> None:
    server.say(answer(302, headers={"Location": "http://evil.test/"}))
    with pytest.raises(MixDefaultError, match="302") as caught:
        await Sessions(core).list()
    assert caught.value.headers["location"] == "http://evil.test/"
    assert len(server.asked) == 1


async def test_a_success_may_be_mislabelled_and_of_any_2xx_status(
    server: Canned, core: MixCore
) -> None:
    server.say(
        answer(203, SESSION, headers={"Content-Type": "text/plain"}),
        answer(200, raw=b'\xef\xbb\xbf{"status": "ok"}'),
    )
    assert (await Sessions(core).get(id="s1")).title == "Demo"
    assert (await System(core).health_check()).status == "ok"


async def test_a_deletion_may_be_answered_with_json_but_not_with_a_page(
    server: Canned, core: MixCore
) -> None:
    server.say(answer(200, {"deleted": True}), answer(200, raw=b" <html>"))
    await Sessions(core).delete(id="s1")
    with pytest.raises(ResponseValidationError, match="web page"):
        await Sessions(core).delete(id="s1")


async def test_errors_name_the_request_and_a_remedy(server: Canned, core: MixCore) -> None:
    server.say(refusal(404, "session not found", "not_found"))
    with pytest.raises(MixError) as caught:
        await Sessions(core).get(id="s/1")
    text = str(caught.value)
    assert f"sessions.get (GET {server.url}/api/sessions/s%2F1)" in text
    assert "not_found: session not found" in text
    assert "Check the id" in text


async def test_a_closed_client_says_so(server: Canned) -> None:
    core = MixCore(server.url)
    await core.aclose()
    with pytest.raises(UsageError, match=r"/api/sessions was not sent: the client is closed"):
        await Sessions(core).list()


async def test_a_call_that_takes_too_long_times_out_by_the_client_s_or_its_own_limit(
    server: Canned,
) -> None:
    server.say(b"HTTP/1.1 200 OK\r\nX-Content-Length: the head goes on\r\n")
    async with MixCore(server.url, timeout=0.05, retries=ONCE) as core:
        with trio.fail_after(10), pytest.raises(RequestTimeout, match=r"sessions\.list"):
            await Sessions(core).list()
    async with MixCore(server.url, retries=ONCE) as core:
        with trio.fail_after(10), pytest.raises(RequestTimeout):
            await Sessions(core).list(options=RequestOptions(timeout=0.05))
