"""The size of batches and the two short cuts of the router make no difference to the routing.

One short cut is for adjacent deltas, the other for the events of a turn while nothing is in doubt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trio_mix import events as ev
from trio_mix._turns._router import Route, TurnRouter
from trio_mix._turns._turn import Input
from trio_mix._turns._wire_traits import WireTraits
from trio_mix._wire._events import EVENT_CLASSES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TypeAlias

    from trio_mix.events import Event

    Script: TypeAlias = list[list[Event] | Input | str]

ids = st.sampled_from([None, "", "m1", "m2", "m3"])
FIELDS: dict[str, st.SearchStrategy[object]] = {
    "assistant_message_id": ids,
    "message_id": ids,
    "tool_call_id": st.sampled_from(["t1", "t2", ""]),
    "parent_tool_call_id": st.sampled_from([None, None, "t1", "t3"]),
    "done": st.booleans(),
    "status": st.sampled_from(["running", "completed"]),
    "error": st.sampled_from(["bad", "currently processing", "cancelled"]),
}
OTHER_TYPES: dict[object, st.SearchStrategy[object]] = {
    "str": st.just("x"),
    "int": st.just(1),
    "bool": st.just(True),
    "list[str] | None": st.none(),
}


def of(cls: type[Event], **given: object) -> st.SearchStrategy[Event]:
    """Return events of one class, with few ids, so that they often meet again."""
    fields = {
        field.name: FIELDS[field.name] if field.name in FIELDS else OTHER_TYPES[field.type]
        for field in attrs.fields(cls)
        if field.name in FIELDS or field.default is attrs.NOTHING
    }
    return st.builds(cls, **fields | {name: st.just(value) for name, value in given.items()})


events: st.SearchStrategy[Event] = st.one_of(
    *(of(cls) for cls in EVENT_CLASSES.values()),
    *(of(cls) for cls in (ev.ContentEvent, ev.ThinkingEvent, ev.ContentEvent)),
    of(ev.UserMessageCreatedEvent, message_id="u", content="go"),
    of(ev.UserMessageCreatedEvent, message_id="v", content="else"),
    of(ev.UnknownEvent, name="complete"),
    of(ev.ErrorEvent, error="cancelled"),
    of(ev.UnknownEvent, name="new"),
)
STARTED = ev.UserMessageCreatedEvent(message_id="u", content="go")
FAILED = ev.ErrorEvent(error="bad")
SUB_AGENT_ASKED = ev.UserMessageCreatedEvent(message_id="m", content="x", parent_tool_call_id="t")
SUB_AGENT_THINKS = ev.ThinkingEvent(content="x", assistant_message_id="m", parent_tool_call_id="t")
BEFORE: list[Script] = [
    [],
    [[STARTED]],
    [[STARTED, FAILED], Input.SENDING, [STARTED]],
    ["end due", [STARTED]],
]
steps = st.lists(
    st.one_of(
        st.lists(events, min_size=1, max_size=8),
        st.lists(events, min_size=1, max_size=8),
        st.sampled_from([Input.SENDING, Input.ACCEPTED, Input.ANSWER, "lost", "own", "end due"]),
    ),
    max_size=20,
)


class NoShortCut(TurnRouter):
    """Applies the rules to every event."""

    def route(self, events: Iterable[Event], turn_ids: Sequence[str | None] = ()) -> Route:
        self._streaming = None
        return super().route(events, turn_ids)

    def _is_plain(self) -> bool:
        return False


def played(router: TurnRouter, script: Script, *, single: bool) -> list[object]:
    seen: list[object] = []
    turn = router.register("go")
    for step in script:
        if isinstance(step, Input):
            router.apply(turn, step)
        elif step == "lost":
            router.lost()
        elif step == "own":
            router.own(turn, "m2")
        elif step == "end due":
            router.expect_end()
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
    last, last_ids = router._owners._last
    heard = (last and attrs.astuple(last), last_ids)
    others = (len(router._owners.others), router.others, router.others_at_work)
    return [*seen, owners, heard, others, router.traits.ids, router.names_users_only]


@given(steps, st.sampled_from([None, True, False]), st.sampled_from(BEFORE))
@example([[SUB_AGENT_ASKED, SUB_AGENT_THINKS]], None, [[STARTED]])
@settings(max_examples=300)
def test_events_in_batches_are_routed_as_each_of_them_would_be(
    script: Script, ids: bool | None, before: Script
) -> None:
    script = [Input.SENDING, *before, *script]
    in_batches = played(TurnRouter(WireTraits(ids=ids)), script, single=False)
    single = played(NoShortCut(WireTraits(ids=ids)), script, single=True)
    assert in_batches == single
