"""The size of batches, and the short cut for adjacent deltas, make no difference to the routing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from hypothesis import given
from hypothesis import strategies as st

from trio_mix import events as ev
from trio_mix._turns._router import Route, TurnRouter
from trio_mix._turns._turn import Input
from trio_mix._turns._wire_traits import WireTraits

if TYPE_CHECKING:
    from collections.abc import Iterable

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
        st.lists(events, min_size=1, max_size=8),
        st.lists(events, min_size=1, max_size=8),
        st.sampled_from([Input.SENDING, Input.ACCEPTED, Input.ANSWER, "lost", "own"]),
    ),
    max_size=20,
)


class NoShortCut(TurnRouter):
    """Applies the rules to every delta."""

    def route(self, events: Iterable[Event], turn_ids: Iterable[str | None] = ()) -> Route:
        self._streaming = None
        return super().route(events, turn_ids)


def played(
    router: TurnRouter, script: list[list[Event] | Input | str], *, single: bool
) -> list[object]:
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
            routes = [router.route([each]) for each in step] if single else [router.route(step)]
            assert all(route.turn in (turn, None) for route in routes)
            seen.append([event for route in routes for event in route.events])
            seen.append([route.busy for route in routes if route.busy is not None])
        state = attrs.asdict(turn, recurse=False)
        seen.append({**state, "owner": attrs.astuple(turn.owner)})
        if turn.over:
            turn = router.register("go")
    owners = [
        (name, owner.over)
        for known in (router._owners._messages, router._owners._calls)
        for name, owner in known.items()
    ]
    return [*seen, owners, len(router._owners.others), router.traits.ids]


@given(steps, st.sampled_from([None, True, False]))
def test_events_in_batches_are_routed_as_each_of_them_would_be(
    script: list[list[Event] | Input | str], ids: bool | None
) -> None:
    in_batches = played(TurnRouter(WireTraits(ids=ids)), [Input.SENDING, *script], single=False)
    single = played(NoShortCut(WireTraits(ids=ids)), [Input.SENDING, *script], single=True)
    assert in_batches == single
