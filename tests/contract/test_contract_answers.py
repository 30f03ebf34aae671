"""The models lose nothing of the server's answers, and broken answers are refused by their path."""

from __future__ import annotations

import json
from types import NoneType
from typing import TYPE_CHECKING, get_origin

import pytest
import trio

from tests.support.cases import case
from tests.support.contract_cases import CASES, answered
from tests.support.contract_fields import broken, lost
from tests.support.contract_world import GROUPS, HOWS, caller_of, have, path_of, world_of
from tests.support.rest_operations import OPERATIONS, answers_json
from trio_mix import errors, models

if TYPE_CHECKING:
    from collections.abc import Iterator


def with_json(group: str) -> Iterator[tuple[str, str]]:
    return (pair for pair in have(group) if answers_json(OPERATIONS[pair[0]]))


@pytest.mark.parametrize("group", GROUPS)
async def test_no_field_that_the_server_sends_is_lost(group: str) -> None:
    for name, generation in with_json(group):
        with case(name, generation):
            async with world_of(generation) as world, caller_of(world.server) as caller:
                raw, value = await answered(world, caller, name)
            assert list(lost(raw, value)) == []


def test_a_field_that_is_lost_would_be_noticed() -> None:
    value = models.SystemInfo(storage_base_path="/srv")
    assert list(lost({"storageBasePath": "/srv"}, value)) == []
    assert list(lost({"storageBasePath": "/other"}, value)) != []
    assert list(lost({"storageBasePath": "/srv", "more": 1}, value)) != []


@pytest.mark.parametrize("group", GROUPS)
async def test_an_answer_with_one_field_missing_or_of_another_type_is_refused_by_its_path(
    group: str,
) -> None:
    for name, generation in with_json(group):
        with trio.fail_after(60):
            async with world_of(generation) as world, caller_of(world.server) as caller:
                raw, value = await answered(world, caller, name)
                twins = list(broken(raw, value))
                assert len(twins) >= 2
                for index, (path, twin) in enumerate(twins):
                    how = HOWS[index % 2]
                    with case(name, generation, how, twin):
                        body = json.dumps(twin).encode()
                        world.server.answer_next(path_of(name), 200, body=body)
                        with pytest.raises(errors.ResponseValidationError) as caught:
                            await caller(name, how, **CASES[name].args(world))
                        found = caught.value.path.replace('["', ".").replace('"]', "")
                        if name == "messages.send" and path != "$":
                            assert path.startswith(found)
                        else:
                            assert found == path
                        assert caught.value.path in str(caught.value)
                        assert caught.value.request.operation == OPERATIONS[name].name


PAGES = [
    (b"<html><body>Welcome to nginx</body></html>", "web page"),
    (b'{"id": "s1", "title":', "expected JSON"),
    (b"", "is empty"),
    (b"null", "expected"),
    (b"\xff\xfe{}", "expected JSON"),
]


@pytest.mark.parametrize("group", GROUPS)
async def test_an_answer_that_is_no_json_of_the_api_is_refused(group: str) -> None:
    for name, generation in with_json(group):
        may_be_null = get_origin(OPERATIONS[name].result) in (list, dict)
        async with world_of(generation) as world, caller_of(world.server) as caller:
            for page, text in PAGES:
                for how in HOWS:
                    with case(name, generation, how, page), trio.fail_after(10):
                        await CASES[name].before(world, caller)
                        world.server.answer_next(path_of(name), 200, body=page)
                        args = CASES[name].args(world)
                        if page == b"null" and may_be_null:
                            assert len(await caller(name, how, **args)) == 0
                            continue
                        with pytest.raises(errors.ResponseValidationError, match=text):
                            await caller(name, how, **args)


@pytest.mark.parametrize("group", GROUPS)
async def test_a_web_page_is_not_taken_for_an_empty_answer(group: str) -> None:
    for name, generation in have(group):
        if OPERATIONS[name].result is not NoneType:
            continue
        async with world_of(generation) as world, caller_of(world.server) as caller:
            for how in HOWS:
                with case(name, generation, how):
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
