"""A run of text deltas is routed by a short cut: it must be what the rules say, for any events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from hypothesis import given
from hypothesis import strategies as st

from trio_mix import events as ev
from trio_mix._turns._router import Input, TurnRouter, WireTraits

if TYPE_CHECKING:
    from trio_mix.events import Event

ids = st.sampled_from([None, "m1", "m2", "m3"])
parents = st.sampled_from([None, None, "t1"])
events: st.SearchStrategy[Event] = st.one_of(
    *(
        st.builds(cls, content=st.just("x"), assistant_message_id=ids, parent_tool_call_id=parents)
        for cls in (ev.ContentEvent, ev.ContentEvent, ev.ThinkingEvent)
    ),
    st.builds(ev.UserMessageCreatedEvent, message_id=st.just("u"), content=st.just("go")),
    st.builds(ev.UserMessageCreatedEvent, message_id=st.just("v"), content=st.just("else")),
    st.builds(
        ev.ToolUseStartEvent,
        tool_call_id=st.sampled_from(["t1", "t2"]),
        name=st.just("n"),
        assistant_message_id=ids,
    ),
    st.builds(ev.CompleteEvent, done=st.booleans(), message_id=ids, parent_tool_call_id=parents),
    st.builds(ev.ErrorEvent, error=st.sampled_from(["bad", "currently processing"])),
    st.just(ev.HeartbeatEvent()),
)
steps = st.lists(
    st.one_of(
        events,
        events,
        st.sampled_from([Input.SENDING, Input.ACCEPTED, Input.ANSWER, "lost", "own"]),
    ),
    max_size=40,
)


class Plodding(TurnRouter):
    """Never takes the short cut."""

    def route(self, event: Event):  # type: ignore[no-untyped-def]
        self._run = None
        return super().route(event)


def played(router: TurnRouter, script: list[Event | Input | str]) -> list[object]:
    seen: list[object] = []
    turn = router.register("go")
    for step in script:
        if isinstance(step, Input):
            router.apply(turn, step)
        elif step == "lost":
            router.lost()
        elif step == "own":
            router.own(turn, "m2")
        elif not isinstance(step, str):
            route = router.route(step)
            seen.append((route.turn is turn, route.released, route.busy))
        state = attrs.asdict(turn, recurse=False)
        seen.append({**state, "owner": attrs.astuple(turn.owner)})
        if turn.over:
            turn = router.register("go")
    owners = {name: owner.over for name, owner in router._owners.items()}
    return [*seen, owners, len(router._foreign), router.traits.ids]


@given(steps, st.sampled_from([None, True, False]))
def test_a_run_of_deltas_goes_where_each_of_them_would_go(
    script: list[Event | Input | str], ids: bool | None
) -> None:
    fast = played(TurnRouter(WireTraits(ids=ids)), [Input.SENDING, *script])
    slow = played(Plodding(WireTraits(ids=ids)), [Input.SENDING, *script])
    assert fast == slow
