"""What is retried, when, and what never is. The HTTP layer is in memory, the clock jumps."""

from __future__ import annotations

import itertools
import random
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.cases import case
from tests.support.rest_kit import core_over, response
from tests.support.rest_operations import OPERATIONS
from tests.support.rest_samples import SAMPLES, SESSION
from trio_mix import funcs
from trio_mix._http import RETRY_CODES, is_transient, matches
from trio_mix._rest._options import BackoffStrategy, RequestOptions, RetryConfig
from trio_mix.errors import (
    ConnectionFailed,
    MixDefaultError,
    RequestInfo,
    RequestTimeout,
    ResponseValidationError,
)
from trio_mix.resources import Messages, Sessions

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_mix._http import HttpResponse


INFO = RequestInfo("GET", "http://mix.test/x")
LOST = ConnectionFailed("cut", request=INFO, sent=True)
REFUSED = ConnectionFailed("refused", request=INFO, sent=False)
LATE = RequestTimeout("late", request=INFO, sent=True)
FINE = response(200, [])
SENT = response(202, {"status": "processing", "sessionId": "s"})


class MostJitter(random.Random):
    """Always the longest pause."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


def pauses(times: list[float]) -> list[float]:
    return [round(b - a, 6) for a, b in itertools.pairwise(times)]


async def test_a_safe_operation_is_retried(autojump_clock: MockClock) -> None:
    failures: list[HttpResponse | Exception] = [LOST, REFUSED, LATE]
    failures += [response(status) for status in (500, 503, 599, 408, 429)]
    for failure in failures:
        with case(failure):
            core, http = core_over([failure, failure, FINE], rng=MostJitter())
            assert await Sessions(core).list() == []
            assert pauses(http.times) == [0.5, 0.75]


async def test_other_statuses_are_not_retried(autojump_clock: MockClock) -> None:
    for status in (400, 401, 403, 404, 409, 413, 422, 302):
        core, http = core_over([response(status), FINE])
        with case(status), pytest.raises(MixDefaultError):
            await Sessions(core).list()
        assert len(http.times) == 1


async def test_a_broken_success_is_not_retried(autojump_clock: MockClock) -> None:
    core, http = core_over([response(200, {"a": 1}), FINE])
    with pytest.raises(ResponseValidationError):
        await Sessions(core).list(options=RequestOptions(retry_codes=["2XX"]))
    assert len(http.times) == 1


async def test_an_operation_that_may_have_run_is_never_retried(autojump_clock: MockClock) -> None:
    options = RequestOptions(retries=RetryConfig(), retry_codes=["5XX", "429"])
    for name, operation in OPERATIONS.items():
        if operation.retry == "safe":
            continue
        for failure in (response(503), response(429), LOST, LATE):
            with case(name, failure):
                core, http = core_over([failure, SENT])
                result = await getattr(funcs, name.replace(".", "_"))(
                    core, options=options, **SAMPLES[name].args
                )
                assert not result.ok
                assert len(http.times) == 1


def test_the_operations_that_are_not_safe_are_these() -> None:
    assert {name for name, each in OPERATIONS.items() if each.retry == "unsent"} == {
        "authentication.handle_oauth_callback",
        "files.upload",
        "messages.send",
        "sessions.create",
        "sessions.fork",
        "streaming.send_streaming_message",
    }


async def test_a_message_of_which_nothing_was_sent_is_retried(
    autojump_clock: MockClock,
) -> None:
    core, http = core_over([REFUSED, REFUSED, SENT])
    assert (await Messages(core).send(id="s", text="hi")).status_code == 202
    assert len(http.times) == 3
    core, http = core_over([REFUSED, LOST, SENT])
    with pytest.raises(ConnectionFailed):
        await Messages(core).send(id="s", text="hi")
    assert len(http.times) == 2


async def test_pauses_grow_to_the_ceiling_and_end_with_the_time(autojump_clock: MockClock) -> None:
    core, http = core_over([LOST], rng=MostJitter())
    with pytest.raises(ConnectionFailed, match=r"sessions\.list .*tried \d+ times") as caught:
        await Sessions(core).list()
    found = pauses(http.times)
    assert found[:4] == [0.5, 0.75, 1.125, 1.6875]
    assert max(found) == 60.0
    assert found[-1] == 60.0
    assert 540.0 < trio.current_time() <= 600.0
    assert caught.value.attempts == len(http.times)
    assert caught.value.__cause__ is LOST.__cause__


async def test_jitter_shortens_a_pause_to_no_less_than_half(autojump_clock: MockClock) -> None:
    core, http = core_over([LOST], rng=random.Random(5))
    with pytest.raises(ConnectionFailed):
        await Sessions(core).list()
    expected = 0.5
    for pause in pauses(http.times):
        assert expected / 2 <= pause <= expected
        expected = min(expected * 1.5, 60.0)
    assert len(set(pauses(http.times))) == len(http.times) - 1


async def test_the_last_answer_is_what_is_raised_when_the_time_is_up(
    autojump_clock: MockClock,
) -> None:
    config = RetryConfig(backoff=BackoffStrategy(max_elapsed_time=1.0))
    core, http = core_over([response(500), response(503)], retries=config)
    with pytest.raises(MixDefaultError) as caught:
        await Sessions(core).list()
    assert caught.value.status_code == 503
    assert trio.current_time() <= 1.0
    assert len(http.times) >= 2


async def test_no_time_limit_retries_forever(autojump_clock: MockClock) -> None:
    config = RetryConfig(backoff=BackoffStrategy(max_elapsed_time=None, initial_interval=1e300))
    core, _http = core_over([LOST] * 2000 + [FINE], retries=config, rng=MostJitter())
    await Sessions(core).list()
    assert trio.current_time() == 2000 * 60.0


async def test_a_server_that_cannot_be_reached_is_logged_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    core, _http = core_over([REFUSED] * 5 + [FINE], retries=RetryConfig())
    await Sessions(core).list()
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("trio_mix", "WARNING")
    said = record.getMessage()
    assert "GET http://mix.test/" in said
    assert "refused (tried 2 times)" in said
    assert "Check that a Mix server is running" in said
    assert "RetryConfig" in said


async def test_a_single_loss_or_a_busy_server_is_not_logged(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    scripts: list[list[HttpResponse | Exception]] = [[LOST, FINE], [*[response(503)] * 5, FINE]]
    for answers in scripts:
        core, _http = core_over(answers, retries=RetryConfig())
        await Sessions(core).list()
        assert not caplog.records


async def test_strategy_none_is_a_single_try_for_the_client_and_for_a_call(
    autojump_clock: MockClock,
) -> None:
    none = RetryConfig(strategy="none")
    for settings, options in (({"retries": none}, None), ({}, RequestOptions(retries=none))):
        core, http = core_over([LOST, FINE], **settings)
        with pytest.raises(ConnectionFailed) as caught:
            await Sessions(core).list(options=options)
        assert len(http.times) == caught.value.attempts == 1
        assert "tried" not in str(caught.value)


async def test_connection_errors_may_be_left_out(autojump_clock: MockClock) -> None:
    config = RetryConfig(retry_connection_errors=False)
    core, http = core_over([response(500), LOST, FINE], retries=config)
    with pytest.raises(ConnectionFailed):
        await Sessions(core).list()
    assert len(http.times) == 2


async def test_a_call_can_name_the_statuses(autojump_clock: MockClock) -> None:
    core, http = core_over([response(404), response(500)])
    with pytest.raises(MixDefaultError) as caught:
        await Sessions(core).list(options=RequestOptions(retry_codes=["404"]))
    assert caught.value.status_code == 500
    assert len(http.times) == 2
    core, http = core_over([response(500), FINE])
    with pytest.raises(MixDefaultError):
        await Sessions(core).list(options=RequestOptions(retry_codes=[]))
    assert len(http.times) == 1


async def test_retry_after_takes_the_pause_s_place_and_is_capped(autojump_clock: MockClock) -> None:
    for header, least, most in [
        ("3", 3.0, 3.5),
        ("0", 0.0, 0.0),
        ("3600", 60.0, 60.5),
        ("soon", 0.25, 0.5),
        ("-5", 0.25, 0.5),
    ]:
        with case(header):
            core, http = core_over([response(503, headers={"retry-after": header}), FINE])
            await Sessions(core).list()
            assert least <= pauses(http.times)[0] <= most


async def test_retry_after_may_be_a_date(autojump_clock: MockClock) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    core, http = core_over([response(429, headers={"retry-after": date}), FINE])
    await Sessions(core).list()
    assert 20 <= pauses(http.times)[0] <= 31


async def test_the_headers_function_is_called_for_each_try(autojump_clock: MockClock) -> None:
    tokens = iter(["old", "new"])
    core, http = core_over([response(500), FINE], headers=lambda: {"authorization": next(tokens)})
    await Sessions(core).list()
    assert [each["authorization"] for each in http.headers] == ["old", "new"]


async def test_cancellation_ends_a_pause_at_once(autojump_clock: MockClock) -> None:
    core, _http = core_over([LOST])
    with trio.move_on_after(1.0) as scope:
        await Sessions(core).list()
    assert scope.cancelled_caught
    assert trio.current_time() == 1.0


async def test_a_certificate_that_is_refused_is_not_retried(autojump_clock: MockClock) -> None:
    failure = ConnectionFailed("tls", request=INFO)
    failure.__cause__ = ssl.SSLCertVerificationError("self-signed")
    core, http = core_over([failure, FINE])
    with pytest.raises(ConnectionFailed):
        await Sessions(core).list()
    assert len(http.times) == 1


async def test_a_bug_is_not_retried(autojump_clock: MockClock) -> None:
    core, http = core_over([ZeroDivisionError("bug"), FINE])
    with pytest.raises(ZeroDivisionError):
        await Sessions(core).list()
    assert len(http.times) == 1


async def test_a_stateful_answer_after_a_retry_is_read_as_usual(autojump_clock: MockClock) -> None:
    core, _ = core_over([response(502), response(200, SESSION)])
    assert (await Sessions(core).get(id="s1")).title == "Demo"


def test_which_statuses_are_worth_another_try() -> None:
    transient = {408, 425, 429, *range(500, 600)}
    assert {status for status in range(100, 600) if is_transient(status)} == transient
    known = {status for status in range(100, 600) if is_transient(status, not_implemented=False)}
    assert known == transient - {501}
    assert {status for status in range(100, 600) if matches(status, RETRY_CODES)} == (
        transient - {425}
    )
