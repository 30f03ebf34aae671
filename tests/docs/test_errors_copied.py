"""Errors can be pickled and copied."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING

import httpx
import pytest

import tests.support.error_page  # noqa: F401 - registers the causes
from tests.support.error_stage import CAUSES, happen
from trio_mix import Mix, RetryConfig, errors

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "sk-the-secret-of-a-header"


def _pickled(error: BaseException) -> BaseException:
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
    assert isinstance(copied, BaseException)
    return copied


COPIES: dict[str, Callable[[BaseException], BaseException]] = {
    "pickle": _pickled,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.fixture(scope="module")
def raised_errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BaseException]:
    """The error of each cause in the page of errors: one or more of every public class."""
    found: dict[str, BaseException] = {}
    for cause in CAUSES:
        error = happen(cause, tmp_path_factory.mktemp("cause"))
        assert error is not None, cause.name
        found[cause.name] = error
    return found


def test_every_error_equals_its_pickle_and_its_copies(
    raised_errors: dict[str, BaseException],
) -> None:
    assert len({type(error) for error in raised_errors.values()}) > 20
    for name, error in raised_errors.items():
        error.add_note("while a test ran")
        for way, copied_by in COPIES.items():
            copied = copied_by(error)
            where = f"{way} of {name}"
            assert type(copied) is type(error), where
            assert str(copied) == str(error), where
            assert copied.args == error.args, where
            assert vars(copied) == vars(error), where
            assert copied.__notes__[-1] == "while a test ran", where


def test_a_note_of_a_copy_is_not_one_of_the_original() -> None:
    error = errors.UsageError("x")
    error.add_note("first")
    for copied_by in COPIES.values():
        copied_by(error).add_note("second")
    assert error.__notes__ == ["first"]


def test_a_copy_keeps_the_cause_and_can_be_raised() -> None:
    lost = errors.ConnectionFailed(
        "reset", request=errors.RequestInfo("GET", "http://mix.test"), sent=True
    )
    lost.__cause__ = ConnectionResetError(104, "reset by peer")
    error = errors.ReconnectFailed("gave up", url="http://mix.test", attempts=3)
    error.__cause__ = lost
    for way, copied_by in COPIES.items():
        with pytest.raises(errors.ReconnectFailed, match="gave up") as caught:
            raise copied_by(error)
        assert caught.value.attempts == 3, way
        assert isinstance(caught.value.__cause__, errors.ConnectionFailed), way
        assert caught.value.__cause__.sent, way
        reset = caught.value.__cause__.__cause__
        assert isinstance(reset, ConnectionResetError), way
        assert reset.errno == 104, way


class _Refused(errors.MessageRejected):
    def __init__(self, reason: str, count: int) -> None:
        super().__init__(f"{reason} ({count})", session_id="s1")
        self.count = count


def test_a_subclass_with_other_arguments_can_be_copied() -> None:
    error = _Refused("no", 3)
    for way, copied_by in COPIES.items():
        copied = copied_by(error)
        assert type(copied) is _Refused, way
        assert (str(copied), vars(copied)) == ("no (3)", vars(error)), way


async def test_a_pickle_contains_no_credential_of_a_callers_client() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    transport = httpx.MockTransport(refuse)
    client = httpx.AsyncClient(transport=transport, headers={"Authorization": f"Bearer {SECRET}"})
    async with (
        client,
        Mix("http://mix.test", http_client=client, retries=RetryConfig(strategy="none")) as mix,
    ):
        with pytest.raises(errors.ConnectionFailed) as caught:
            await mix.sessions.list()
    assert isinstance(caught.value.__cause__, httpx.ConnectError)
    assert SECRET in str(caught.value.__cause__.request.headers["authorization"])
    written = pickle.dumps(caught.value)
    assert SECRET.encode() not in written
    assert str(_pickled(caught.value)) == str(caught.value)
    for copied in (copy.copy(caught.value), copy.deepcopy(caught.value)):
        assert copied.__cause__ is caught.value.__cause__
