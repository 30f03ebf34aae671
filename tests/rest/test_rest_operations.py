"""Every operation, as a method and as a function: success, documented errors, broken answers."""

from __future__ import annotations

import inspect
from types import NoneType
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from tests.support.cases import case
from tests.support.rest_kit import answer, refusal
from tests.support.rest_operations import OPERATIONS
from tests.support.rest_samples import SAMPLES
from trio_mix import errors, funcs, resources
from trio_mix._wire import _models

if TYPE_CHECKING:
    from tests.support.rest_kit import Canned
    from trio_mix import MixCore


def method_of(core: MixCore, name: str) -> Any:
    resource, _, method = name.partition(".")
    return getattr(getattr(resources, resource.capitalize())(core), method)


def function_of(name: str) -> Any:
    return getattr(funcs, name.replace(".", "_"))


def test_every_operation_has_a_sample_a_method_and_a_function() -> None:
    assert {*SAMPLES, "streaming.stream_events"} == set(OPERATIONS)
    assert len({each.operation_id for each in OPERATIONS.values()}) == len(OPERATIONS) - 2
    for name, operation in OPERATIONS.items():
        assert operation.name in (name, f"authentication.{name.partition('.')[2]}")
        assert function_of(name).__name__ in funcs.__all__


def test_the_function_takes_what_the_method_takes_and_the_method_what_is_declared() -> None:
    for name, operation in OPERATIONS.items():
        with case(name):
            resource, _, method = name.partition(".")
            of_method = inspect.signature(
                getattr(getattr(resources, resource.capitalize()), method)
            )
            of_function = inspect.signature(function_of(name))
            assert list(of_method.parameters)[1:] == list(of_function.parameters)[1:]
            assert next(iter(of_function.parameters)) == "core"
            own = set(of_method.parameters) - {"self", "options"}
            if name == "files.upload":
                own -= {"filename", "content_type", "progress"}  # parts of the form's one field
            assert own == {param.name for param in operation.params}
            for param in operation.params:
                default = of_method.parameters[param.name].default
                assert (default is inspect.Parameter.empty) == param.required


def test_docstrings_document_the_request_the_retries_and_the_errors() -> None:
    for name, operation in OPERATIONS.items():
        with case(name):
            resource, _, method = name.partition(".")
            text = inspect.getdoc(getattr(getattr(resources, resource.capitalize()), method)) or ""
            assert "Retries: retried" in text
            assert f"``{operation.method} {operation.path}``" in text
            assert "Raises:" in text
            assert "In `Err`:" in (function_of(name).__doc__ or "")


async def test_a_success_sends_what_the_api_asks_for_and_reads_the_answer(
    server: Canned, core: MixCore
) -> None:
    for name, sample in SAMPLES.items():
        with case(name):
            server.asked.clear()
            server.say(answer(sample.status, sample.answer))
            value = await method_of(core, name)(**sample.args)
            result = await function_of(name)(core, **sample.args)
            assert result == funcs.Ok(value)
            assert result.ok
            for asked in server.asked:
                assert f"{asked.method} {asked.target}" == sample.request
                if sample.body is not None:
                    assert asked.json == sample.body
                    assert asked.headers["content-type"] == "application/json"
                elif name != "files.upload":
                    assert asked.body == b""
            assert len(server.asked) == 2
            assert value == expected(name)


def expected(name: str) -> object:
    """The value, read by the codec directly; its own tests show that it reads right."""
    sample = SAMPLES[name]
    if OPERATIONS[name].result is NoneType:
        return None
    if name == "files.get":
        return b'"any bytes"'
    value = _models.decode(sample.answer, OPERATIONS[name].result)
    return attrs.evolve(value, status_code=202) if name == "messages.send" else value


async def test_each_documented_error_is_an_error_response(server: Canned, core: MixCore) -> None:
    for name, sample in SAMPLES.items():
        for status in OPERATIONS[name].errors:
            with case(name, status):
                server.say(refusal(status, "said no", "not_found"))
                with pytest.raises(errors.ErrorResponse, match="said no") as caught:
                    await method_of(core, name)(**sample.args)
                assert caught.value.status_code == status
                assert caught.value.error == errors.RESTError(status, "said no", "not_found")
                assert caught.value.request.operation == OPERATIONS[name].name
                result = await function_of(name)(core, **sample.args)
                assert isinstance(result, funcs.Err)
                assert not result.ok
                assert isinstance(result.error, errors.ErrorResponse)


async def test_a_broken_answer_is_a_validation_error(server: Canned, core: MixCore) -> None:
    for name, sample in SAMPLES.items():
        if sample.broken is None:
            continue
        for broken in (answer(sample.status, sample.broken), answer(200, raw=b"{"), answer(200)):
            with case(name, broken):
                server.say(broken)
                with pytest.raises(errors.ResponseValidationError) as caught:
                    await method_of(core, name)(**sample.args)
                assert caught.value.path.startswith("$")


async def test_a_web_page_is_not_taken_for_an_answer(server: Canned, core: MixCore) -> None:
    server.say(answer(200, raw=b"<!doctype html>", headers={"Content-Type": "text/html"}))
    for name, sample in SAMPLES.items():
        if name != "files.get":
            with case(name), pytest.raises(errors.ResponseValidationError, match="web page"):
                await method_of(core, name)(**sample.args)


async def test_another_error_is_a_default_error(server: Canned, core: MixCore) -> None:
    server.say(answer(418, raw=b"teapot", headers={"Content-Type": "text/plain"}))
    for name, sample in SAMPLES.items():
        with case(name):
            with pytest.raises(errors.MixDefaultError, match="teapot") as caught:
                await method_of(core, name)(**sample.args)
            assert caught.value.body == "teapot"


async def test_no_answer_is_a_connection_failure(server: Canned, core: MixCore) -> None:
    server.answers = lambda _: None
    for name, sample in SAMPLES.items():
        with case(name):
            result = await function_of(name)(core, **sample.args)
            assert isinstance(result.error, errors.ConnectionFailed)
            assert result.error.sent
            assert result.error.request.operation == OPERATIONS[name].name
