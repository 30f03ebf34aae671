"""The server's answers lose nothing in the models, and broken ones are told to the point."""

from __future__ import annotations

import json
from types import NoneType
from typing import TYPE_CHECKING, get_origin

import pytest
import trio

from tests.support.contract_cases import CASES, answered
from tests.support.contract_fields import broken, lost
from tests.support.contract_world import HAVE, HOWS, caller_of, path_of, world_of
from tests.support.rest_operations import OPERATIONS, answers_json
from trio_mix import errors, models

if TYPE_CHECKING:
    from tests.support.contract_world import How

JSON = [(n, g) for n, g in HAVE if answers_json(OPERATIONS[n])]
EMPTY = [(n, g) for n, g in HAVE if OPERATIONS[n].result is NoneType]


@pytest.mark.parametrize(("name", "generation"), JSON)
async def test_no_field_that_the_server_sends_is_lost(name: str, generation: str) -> None:
    async with world_of(generation) as world, caller_of(world.server) as caller:
        raw, value = await answered(world, caller, name)
    assert list(lost(raw, value)) == []


def test_a_field_that_is_lost_would_be_noticed() -> None:
    value = models.SystemInfo(storage_base_path="/srv")
    assert list(lost({"storageBasePath": "/srv"}, value)) == []
    assert list(lost({"storageBasePath": "/other"}, value)) != []
    assert list(lost({"storageBasePath": "/srv", "more": 1}, value)) != []


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(("name", "generation"), JSON)
async def test_an_answer_with_one_field_missing_or_of_another_type_is_told_by_its_path(
    name: str, generation: str, how: How
) -> None:
    with trio.fail_after(60):
        async with world_of(generation) as world, caller_of(world.server) as caller:
            raw, value = await answered(world, caller, name)
            tried = 0
            for path, twin in broken(raw, value):
                tried += 1
                body = json.dumps(twin).encode()
                world.server.answer_next(path_of(name), 200, body=body)
                with pytest.raises(errors.ResponseValidationError) as caught:
                    await caller(name, how, **CASES[name].args(world))
                told = caught.value.path.replace('["', ".").replace('"]', "")
                if OPERATIONS[name].name == "messages.send" and path != "$":
                    assert path.startswith(told)
                else:
                    assert told == path, (twin, str(caught.value))
                assert caught.value.path in str(caught.value)
                assert caught.value.request.operation == OPERATIONS[name].name
    assert tried >= 2


PAGES = [
    (b"<html><body>Welcome to nginx</body></html>", "web page"),
    (b'{"id": "s1", "title":', "expected JSON"),
    (b"", "the body is empty"),
    (b"null", "expected"),
    (b"\xff\xfe{}", "UTF-8"),
]


@pytest.mark.parametrize(("page", "said"), PAGES)
@pytest.mark.parametrize(("name", "generation"), JSON)
async def test_an_answer_that_is_no_json_of_the_api_is_refused(
    name: str, generation: str, page: bytes, said: str
) -> None:
    may_be_null = get_origin(OPERATIONS[name].result) in (list, dict)
    async with world_of(generation) as world, caller_of(world.server) as caller:
        for how in HOWS:
            await CASES[name].before(world, caller)
            world.server.answer_next(path_of(name), 200, body=page)
            args = CASES[name].args(world)
            if page == b"null" and may_be_null:
                assert len(await caller(name, how, **args)) == 0
                continue
            with trio.fail_after(10), pytest.raises(errors.ResponseValidationError, match=said):
                await caller(name, how, **args)


@pytest.mark.parametrize(("name", "generation"), EMPTY)
async def test_a_web_page_is_not_taken_for_an_empty_answer(name: str, generation: str) -> None:
    async with world_of(generation) as world, caller_of(world.server) as caller:
        for how in HOWS:
            await CASES[name].before(world, caller)
            world.server.answer_next(path_of(name), 200, body=PAGES[0][0])
            with pytest.raises(errors.ResponseValidationError, match="web page"):
                await caller(name, how, **CASES[name].args(world))


async def test_a_stream_that_is_a_web_page_is_refused() -> None:
    async with world_of("0.11.4") as world, caller_of(world.server) as caller:
        for how in HOWS:
            for body, status, error in (
                (PAGES[0][0], 200, errors.ProtocolError),
                (b'{"status": "ok"}', 200, errors.ProtocolError),
                (b"", 204, errors.StreamClosed),
            ):
                world.server.answer_next("/stream", status, body=body)
                with trio.fail_after(10), pytest.raises(error):
                    await caller("streaming.stream_events", how, session_id=world.session)


async def test_a_file_may_be_a_web_page() -> None:
    async with world_of("0.11.4") as world, caller_of(world.server) as caller:
        for how in HOWS:
            page = {"file": PAGES[0][0], "filename": "a.html"}
            await caller("files.upload", how, id=world.session, **page)
            got = await caller("files.get", how, id=world.session, filename="a.html")
            assert got == PAGES[0][0]
