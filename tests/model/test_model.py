"""A state machine (Hypothesis) of client, clock and server, with the campaign's invariants.

The steps are collected and carried out when the example is complete, in one `trio.run` with a clock
that only the steps advance, so that a failing example shrinks and can be repeated exactly.
"""

from __future__ import annotations

import os
from typing import Literal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.support.model_world import Program, Step, carry_out_program
from trio_mix.testing import Api  # noqa: TC001 - Hypothesis evaluates it

_EXAMPLES = int(os.environ.get("TRIO_MIX_EXAMPLES", "40"))
_APIS: tuple[Api, ...] = ("async", "async", "blocking", "pipeline", "pipeline-oldest")
How = Literal["cut", "close", "reset"]
_Number = st.integers(0, 7)


class ClientAndServer(RuleBasedStateMachine):
    """Everything that can happen to a stream and its messages."""

    @initialize(api=st.sampled_from(_APIS), replay=st.booleans())
    def begin(self, api: Api, replay: bool) -> None:
        self.api: Api = api
        self.replay = replay and api == "async"
        self.steps: list[Step] = []
        self.sent = 0
        self.plugged = True

    @precondition(lambda self: self.sent < 6)
    @rule(number=_Number)
    def send(self, number: int) -> None:
        self.sent += 1
        self.steps.append(Step("send", number))

    @precondition(lambda self: self.sent)
    @rule(number=_Number, amount=st.sampled_from([0.0, 3.0, 40.0]))
    def read(self, number: int, amount: float) -> None:
        self.steps.append(Step("read", number, amount))

    @precondition(lambda self: self.sent)
    @rule(number=_Number)
    def cancel(self, number: int) -> None:
        self.steps.append(Step("cancel", number))

    @precondition(lambda self: self.sent)
    @rule(number=_Number)
    def leave(self, number: int) -> None:
        self.steps.append(Step("leave", number))

    @rule(how=st.sampled_from(["cut", "close", "reset"]))
    def cut(self, how: How) -> None:
        self.steps.append(Step("cut", how=how))

    @rule(how=st.sampled_from(["cut", "reset"]))
    def drop(self, how: Literal["cut", "reset"]) -> None:
        self.steps.append(Step("drop", how=how))

    @rule()
    def unplug_or_plug(self) -> None:
        self.steps.append(Step("unplug" if self.plugged else "plug"))
        self.plugged = not self.plugged

    @rule()
    def restart(self) -> None:
        self.steps.append(Step("restart"))

    @precondition(lambda self: self.api == "async")
    @rule()
    def foreign(self) -> None:
        self.steps.append(Step("foreign"))

    @rule(amount=st.sampled_from([0.01, 0.3, 1.0, 4.0, 8.0, 35.0, 70.0, 300.0]))
    def time(self, amount: float) -> None:
        self.steps.append(Step("time", amount=amount))

    def teardown(self) -> None:
        if hasattr(self, "steps"):
            program = Program(self.api, self.replay, tuple(self.steps))
            assert carry_out_program(program) == [], program


TestClientAndServer = ClientAndServer.TestCase
TestClientAndServer.settings = settings(
    max_examples=_EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType]
    print_blob=True,
)
