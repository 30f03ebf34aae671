"""How long a turn has been silent, for any order of losses, events and readings."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.support.recovery_cases import reading
from trio_mix._turns._signs_of_life import SignsOfLife
from trio_mix._turns._stored_turn import TurnOutcome

STEPS = st.lists(
    st.tuples(
        st.integers(0, 100),
        st.sampled_from(["loss", "restoration", "event", "held event", "look", "reading"]),
    ),
    max_size=20,
)


@given(STEPS)
def test_silence_is_the_time_with_a_connection_since_the_last_sign(
    steps: list[tuple[int, str]],
) -> None:
    now, connected, own, held = 0, True, 0, 0
    silent = unheard = up = since_restored = 0
    absent: int | None = None
    signs = SignsOfLife.begin(now)
    for seconds, what in steps:
        now += seconds
        silent, unheard, up, since_restored = (
            each + (seconds if connected else 0) for each in (silent, unheard, up, since_restored)
        )
        match what:
            case "loss":
                signs, connected = signs.after_loss(now), False
            case "restoration":
                signs, connected = signs.after_restoration(now), True
                since_restored = 0
            case "reading":
                signs = signs.after_reading(now, reading(TurnOutcome.ABSENT), queued=False)
                silent = silent if absent is not None else 0  # more was stored than before
                absent = now if absent is None else absent
            case _:
                own += what == "event"
                held += what == "held event"
                silent = 0 if what == "event" else silent
                unheard = unheard if what == "look" else 0
                signs = signs.after_events(now, own=own, heard=own + held, live=False)
        assert signs.connected == connected
        assert signs.silence(now) == silent
        assert signs.unheard(now) == unheard
        assert (signs.up(now), signs.up_since_restored(now)) == (up, since_restored)
        assert signs.absent(now) == (0 if absent is None else now - absent)
