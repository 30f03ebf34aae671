"""How long silence may last: by the cadence that was seen, never by a guess."""

from __future__ import annotations

import pytest

from trio_mix._turns._idle_timeout import IdleTimeout


def seen(*times: float) -> IdleTimeout:
    watch = IdleTimeout("auto")
    for now in times:
        watch.beat(now)
    return watch


@pytest.mark.parametrize("setting", [7.5, None])
@pytest.mark.parametrize("pauses", [True, False])
def test_a_setting_of_the_users_is_that_whatever_is_seen(
    setting: float | None, pauses: bool
) -> None:
    watch = IdleTimeout(setting)
    watch.beat(0)
    watch.beat(45)
    assert watch.timeout(pauses=pauses) == setting


@pytest.mark.parametrize("times", [[], [45.0], [45.0, 45.0]])
def test_auto_rests_until_a_cadence_was_seen(times: list[float]) -> None:
    assert seen(*times).timeout(pauses=False) is None


def test_auto_allows_a_few_beats_of_the_cadence() -> None:
    assert seen(0, 45).timeout(pauses=False) == pytest.approx(112.5)
    assert seen(0, 45, 90, 135).timeout(pauses=False) == pytest.approx(112.5)


def test_a_very_fast_cadence_still_allows_a_second() -> None:
    assert seen(0, 0.01).timeout(pauses=False) == 1.0


def test_auto_rests_while_the_server_sends_none() -> None:
    watch = seen(0, 45)
    assert watch.timeout(pauses=True) is None
    assert watch.timeout(pauses=False) is not None


def test_an_interval_that_saw_a_turn_or_a_loss_does_not_count() -> None:
    watch = seen(0, 10)
    watch.interrupted()
    watch.beat(500)
    assert watch.timeout(pauses=False) == pytest.approx(25)
    watch.beat(510)
    assert watch.timeout(pauses=False) == pytest.approx(25)


def test_the_slowest_interval_counts_at_once() -> None:
    assert seen(0, 10, 20, 70).timeout(pauses=False) == pytest.approx(125)


def test_one_stall_has_no_lasting_effect() -> None:
    watch = seen(0, 10, 3610)
    waits = []
    for beat in range(1, 80):
        watch.beat(3610 + 10 * beat)
        waits.append(watch.timeout(pauses=False) or 0.0)
    assert waits == sorted(waits, reverse=True)
    assert waits[-1] < 30


def test_a_burst_after_a_stall_does_not_make_it_jumpy() -> None:
    watch = seen(0, 45, 90, 180, 180.1, 180.2)
    assert (watch.timeout(pauses=False) or 0.0) > 45 * 1.5


def test_an_interval_that_took_a_live_stream_for_dead_is_learnt_again() -> None:
    watch = seen(0, 0.1)
    watch.expired()
    assert watch.timeout(pauses=False) is None
    watch.beat(45)
    assert watch.timeout(pauses=False) is None
    watch.beat(90)
    assert watch.timeout(pauses=False) == pytest.approx(112.5)


# -- comments --------------------------------------------------------------------------------


def commented(*times: float) -> IdleTimeout:
    watch = IdleTimeout("auto")
    for now in times:
        watch.comment(now)
    return watch


def test_regular_comments_show_the_interval_as_heartbeats_do() -> None:
    assert commented(0, 15, 30).timeout(pauses=False) == pytest.approx(37.5)
    assert commented(0, 15, 33, 45).timeout(pauses=False) == pytest.approx(43.5)
    assert commented(0, 15, 30).timeout(pauses=True) is None


@pytest.mark.parametrize(
    "times", [[0], [0, 15], [0, 0.1, 0.2, 0.3], [0, 2, 40], [0, 5, 15, 16, 90], [0, 0.5, 20, 20.5]]
)
def test_irregular_comments_show_nothing(times: list[float]) -> None:
    assert commented(*times).timeout(pauses=False) is None


def test_comments_that_come_together_are_one() -> None:
    times = [0, 0.1, 15, 15.1, 15.2, 30, 30.1, 45, 45.9]
    assert commented(*times).timeout(pauses=False) == pytest.approx(37.5)


def test_the_longer_interval_counts_because_either_may_stop() -> None:
    for beats, comments in ((45, 15), (15, 45)):
        watch = commented(0, comments, 2 * comments)
        watch.beat(0)
        watch.beat(beats)
        assert watch.timeout(pauses=False) == pytest.approx(112.5)


def test_an_interval_of_comments_with_a_turn_or_a_loss_does_not_count() -> None:
    watch = commented(0, 10, 20)
    watch.interrupted()
    watch.comment(500)
    assert watch.timeout(pauses=False) == pytest.approx(25)
    watch.expired()
    assert watch.timeout(pauses=False) is None
