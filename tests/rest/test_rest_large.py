"""Large and odd bodies of responses: bounded, decoded in steps, and what is valid is not lost."""

from __future__ import annotations

import json
import math
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.support.cases import case
from tests.support.rest_kit import ONCE, answer, core_over
from tests.support.rest_samples import EXPORT, SESSION
from trio_mix import RequestOptions, errors
from trio_mix._http import HttpResponse
from trio_mix.resources import Files, Sessions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio.testing import MockClock

    from tests.support.rest_kit import Canned
    from trio_mix._rest._core import MixCore

ROWS = 20_000


def _body(value: object) -> HttpResponse:
    return HttpResponse(
        status_code=200,
        headers={},
        body=json.dumps(value).encode(),
        truncated=False,
        url="http://mix.test",
    )


def _large() -> list[tuple[HttpResponse, Callable[[MixCore], Awaitable[Any]]]]:
    message: Any = EXPORT["messages"][0]
    export = {**EXPORT, "messages": [message] * ROWS}
    return [
        (_body([SESSION] * ROWS), lambda core: Sessions(core).list()),
        (_body(export), lambda core: Sessions(core).export_session(id="s1")),
    ]


async def test_other_tasks_run_while_a_large_body_is_decoded() -> None:
    for response, call in _large():
        core, _ = core_over([response], retries=ONCE)
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            await call(core)
            nursery.cancel_scope.cancel()
        # At least once for each 256 KiB that are parsed, and each 100 records that are decoded.
        assert turns > len(response.body) / 2**18 + ROWS / 100


async def test_the_timeout_holds_while_a_large_body_is_decoded(mock_clock: MockClock) -> None:
    for response, call in _large():
        core, http = core_over([response], retries=ONCE, timeout=10)

        async def let_time_pass() -> None:
            while True:
                await trio.lowlevel.checkpoint()
                mock_clock.jump(1)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(let_time_pass)
            with pytest.raises(errors.RequestTimeout, match="decoding the response") as caught:
                await call(core)
            nursery.cancel_scope.cancel()
        assert caught.value.sent
        assert len(http.times) == 1


async def test_one_odd_record_leaves_the_others_in_the_error(server: Canned, core: MixCore) -> None:
    odd = {**SESSION, "title": 7}
    server.say(answer(200, [SESSION, odd, {**SESSION, "id": "s3"}]))
    with pytest.raises(errors.ResponseValidationError, match=r"2, are in `\.items`") as caught:
        await Sessions(core).list()
    assert caught.value.path == "$[1].title"
    assert [each.id for each in caught.value.items] == ["s1", "s3"]  # type: ignore[attr-defined]


async def test_an_endless_body_is_refused_at_its_limit(server: Canned, core: MixCore) -> None:
    sent = 0

    async def endless(stream: trio.SocketStream) -> None:
        nonlocal sent
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                await stream.send_all(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
                sent += 0x8000
        except trio.BrokenResourceError:
            pass

    calls: list[Callable[[RequestOptions], Awaitable[object]]] = []
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, endless, 0, host="127.0.0.1"))
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        calls = [
            lambda options: _awaited(core, options),
            lambda options: _read(core, options),
            lambda options: Sessions(core).list(options=options),
            lambda options: core.request("GET", "/x", options=options),
        ]
        for number, call in enumerate(calls):
            with case(number):
                sent = 0
                options = RequestOptions(server_url=url, max_body_size=200_000)
                with pytest.raises(errors.ResponseTooLarge, match="max_body_size") as caught:
                    await call(options)
                assert caught.value.limit == 200_000
                assert sent < 200_000 + 8 * 2**20  # what sockets hold
        nursery.cancel_scope.cancel()


async def _awaited(core: MixCore, options: RequestOptions) -> bytes:
    return await Files(core).get(id="s1", filename="a", options=options)


async def _read(core: MixCore, options: RequestOptions) -> bytes:
    async with Files(core).get(id="s1", filename="a", options=options) as stream:
        return await stream.read()


async def test_a_file_beyond_the_limit_is_read_in_pieces_or_with_a_larger_limit(
    server: Canned, core: MixCore
) -> None:
    server.say(answer(200, raw=b"x" * 5000))
    small = RequestOptions(max_body_size=4999)
    with pytest.raises(errors.ResponseTooLarge):
        await _awaited(core, small)
    async with Files(core).get(id="s1", filename="a", options=small) as stream:
        assert sum([len(piece) async for piece in stream]) == 5000
    for limit in (5000, math.inf, None):
        assert len(await _awaited(core, RequestOptions(max_body_size=limit))) == 5000


def test_a_limit_is_a_positive_number() -> None:
    for limit in (0, -1, "5", True, math.nan):
        with case(limit), pytest.raises(errors.ConfigurationError, match="max_body_size"):
            RequestOptions(max_body_size=limit)  # type: ignore[arg-type]
