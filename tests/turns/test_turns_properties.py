"""Any legal interleaving of turns is routed right; no sequence whatever raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.event_makers import (
    BUSY,
    asked,
    begins,
    done,
    error,
    old_piece,
    permission,
    piece,
    ran,
    rate_limit,
    router_for,
    runs,
    says,
    send,
    thinks,
    tool,
    unknown,
    whole,
)
from tests.support.turn_worlds import NOISE, AsyncWorld, OrderWorld, Running
from trio_mix import events as ev
from trio_mix._turns._turn import Input, Phase, Turn

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix._turns._router import TurnRouter


def draw_from(data: st.DataObject) -> Callable[[int], int]:
    return lambda bound: data.draw(st.integers(0, bound - 1))


class Watched:
    """A router, and what must hold of it whatever comes."""

    def __init__(self, api: str) -> None:
        self.router = router_for(api)
        self.named: dict[int, ev.Event] = {}
        self.ends: dict[Turn, int] = {}

    def route(self, event: ev.Event) -> Turn | None:
        event = attrs.evolve(event)  # a test may send the same object twice
        mine = self.router.turn
        was = mine.phase if mine is not None else None
        route = self.router.route([event])
        if route.turn is None:
            assert not route.events
            assert route.busy is None
            return None
        assert route.turn is mine, "only the registered turn can be an owner"
        asked = route.asked and not (route.events or route.busy)  # of a busy stream's message
        assert was is not Phase.ENDED
        assert asked or was is not Phase.REGISTERED
        for each in route.events:
            assert id(each) not in self.named
            self.named[id(each)] = each
        if route.turn.ended_by is event:
            self.ends[route.turn] = self.ends.get(route.turn, 0) + 1
            assert self.ends[route.turn] == 1
        return route.turn


# -- with ids --------------------------------------------------------------------------------


class Interleaving:
    """Drives a world and a router together, and compares who owns what."""

    def __init__(self, api: str, draw: Callable[[int], int]) -> None:
        self.draw = draw
        self.world = AsyncWorld(draw)
        self.watched = Watched(api)
        self.ours: Running | None = None
        self.turn: Turn | None = None

    def move(self, running: Running) -> None:
        assert running.next is not None
        if running.next.terminal:
            self.flush()
        owner = self.turn if running is self.ours else None
        for event in self.world.move(running).events:
            if self.draw(8) == 7:
                assert self.watched.route(NOISE[self.draw(len(NOISE))]) is None
            named = self.watched.route(event)
            if owner is not None and named is None and isinstance(event, ev.ErrorEvent):
                assert (owner.doubt, owner.overlap) == (event, "guess")
                self.watched.router.apply(owner, Input.SETTLED)  # by the stored messages
                self.watched.ends[owner] = 1
            else:
                assert named is owner, event

    def flush(self) -> None:
        """Emit what finished turns still have to say: the world's rule is, before the next end."""
        while self.world.leftovers:
            assert self.watched.route(self.world.leftovers.pop(0)) is None

    def others(self, *, may_begin: bool = True) -> None:
        """Let other people's turns go on, or begin."""
        others = [run for run in self.world.running if run is not self.ours]
        others = [run for run in others if self.world.movable(run)]
        if others and self.draw(3) < 2:
            self.move(others[self.draw(len(others))])
        elif may_begin and self.draw(4) == 3 and len(self.world.running) < 4:
            self.world.turn(["theirs", "not mine"][self.draw(2)])

    def our_turn(self, number: int) -> None:
        text = f"mine {number}"
        self.turn = turn = send(self.watched.router, text, accept=bool(self.draw(2)))
        for _ in range(self.draw(4)):
            self.others()
        if self.draw(2) and self.world.leftovers:
            assert self.watched.route(self.world.leftovers.pop(0)) is None
        self.flush()
        self.ours = self.world.turn(text)
        self.move(self.ours)
        self.watched.router.apply(turn, Input.ACCEPTED)
        while self.ours in self.world.running:
            if self.world.movable(self.ours) and not self.draw(2):
                self.move(self.ours)
            else:
                self.others()
        assert turn.over
        assert self.watched.ends[turn] == 1
        self.ours = self.turn = None


@pytest.mark.parametrize("api", ["async", "auto"])
@given(data=st.data())
@settings(max_examples=120, deadline=None)
def test_interleaved_turns_with_ids_are_distinguished(api: str, data: st.DataObject) -> None:
    draw = draw_from(data)
    case = Interleaving(api, draw)
    if draw(2):
        rest = case.world.turn("theirs", begun=False)
        case.watched.router.traits.ids = True  # its first event need not have any
        case.move(rest)
    for number in range(1 + draw(3)):
        for _ in range(draw(6)):
            case.others()
        case.our_turn(number)
    case.flush()


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_a_turn_whose_first_event_arrives_after_our_post_is_distinguished(
    data: st.DataObject,
) -> None:
    draw = draw_from(data)
    case = Interleaving("async", draw)
    rest = case.world.turn("theirs", begun=False)
    case.turn = turn = send(case.watched.router, "mine", accept=bool(draw(2)))
    for _ in range(1 + draw(5)):
        if rest.next is not None and not rest.next.terminal:
            case.move(rest)
    case.flush()
    case.ours = case.world.turn("mine")
    case.move(case.ours)
    case.watched.router.apply(turn, Input.ACCEPTED)
    while case.ours in case.world.running:
        movable = [run for run in case.world.running if case.world.movable(run)]
        case.move(movable[draw(len(movable))])
    assert turn.over


# -- without ids -----------------------------------------------------------------------------


@pytest.mark.parametrize("api", ["pipeline", "pipeline-oldest", "blocking", "auto"])
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_turns_without_ids_are_distinguished_by_order(api: str, data: st.DataObject) -> None:
    draw = draw_from(data)
    world, watched = OrderWorld(draw, deltas=api != "pipeline-oldest"), Watched(api)
    router = watched.router
    again: list[ev.Event] = []
    for _ in range(1 + draw(5)):
        if draw(3) == 0:  # somebody else's, while we are idle
            foreign, again = world.turn()
            for event in foreign:
                assert watched.route(event) is None
        if draw(3) == 0:
            assert watched.route([says("late"), unknown(), tool("new")][draw(3)]) is None
        turn = router.register("mine")
        router.apply(turn, Input.SENDING)
        for event in again:
            assert draw(2) or watched.route(event) is None
        answer = Input.ANSWER if api == "blocking" else Input.ACCEPTED
        events, again = world.turn()
        if api == "blocking" and isinstance(events[-1], ev.RateLimitEvent):
            events[-1] = done(None, "ok")  # there it ends nothing, and nothing is said of more
        at = draw(len(events) + 1)
        if api == "blocking" and isinstance(events[-1], ev.ErrorEvent):
            at, answer = len(events), Input.REFUSED  # what failed is answered when it is over
        for number, event in enumerate(events):
            if number == at:
                router.apply(turn, answer)
            if draw(8) == 7:
                assert watched.route(NOISE[draw(len(NOISE))]) is None
            assert watched.route(event) is turn, event
        if at == len(events):
            assert turn.over is (api.startswith("pipeline"))
            router.apply(turn, answer)
        assert turn.over
        assert watched.ends[turn] == 1
        for event in again:
            assert draw(2) or watched.route(event) is None


# -- anything --------------------------------------------------------------------------------

names = st.sampled_from(["a", "b", "c", ""])
maybe = st.none() | names
any_event = st.one_of(
    st.builds(asked, names, st.sampled_from(["hello", "other"]), maybe),
    st.builds(says, names, maybe, maybe),
    st.builds(thinks, names, maybe, maybe),
    st.builds(done, maybe, maybe, maybe, is_done=st.booleans()),
    st.builds(error, names, maybe),
    st.builds(rate_limit, maybe),
    st.builds(tool, names, names, st.sampled_from(["running", "completed"])),
    st.builds(begins, names, maybe, maybe),
    st.builds(piece, names, names, maybe, maybe),
    st.builds(old_piece, names, names),
    st.builds(whole, names, names, maybe, maybe),
    st.builds(runs, names, maybe),
    st.builds(ran, names, maybe, success=st.booleans()),
    st.builds(permission, maybe),
    st.just(unknown()),
    st.just(BUSY),
    st.sampled_from(NOISE),
    st.just(ev.SummarizeEvent(progress="", done=False)),
)
any_act = st.sampled_from(["register", "lost", "bind", "own", *Input])


@pytest.mark.parametrize("api", ["async", "auto", "pipeline", "blocking"])
@given(acts=st.lists(any_event | any_act, max_size=60))
@settings(max_examples=200, deadline=None)
def test_nothing_that_servers_or_callers_do_raises_or_ends_a_turn_twice(
    api: str, acts: list[ev.Event | Input | str]
) -> None:
    watched = Watched(api)
    router: TurnRouter = watched.router
    turn = router.register("hello")
    for act in acts:
        if isinstance(act, Input):
            router.apply(turn, act)
        elif act == "register":
            turn = turn if router.turn is not None else router.register("hello")
        elif act == "lost":
            router.lost()
        elif act == "bind":
            router.bind(turn, "a")
        elif act == "own":
            router.own(turn, "b", None)
        else:
            assert not isinstance(act, str)
            watched.route(act)
        assert (router.turn is turn) is not turn.over
