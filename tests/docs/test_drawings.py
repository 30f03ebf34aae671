"""The drawings on the pages show the library's own tables."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from trio_mix._turns._rules import RULES
from trio_mix._turns._turn import TRANSITIONS
from trio_mix.relay._outbox import TRANSITIONS as SENDS

if TYPE_CHECKING:
    from types import ModuleType

EXTENSION = Path(__file__).parents[2] / "docs" / "_ext" / "drawings.py"


@pytest.fixture(scope="module")
def drawings() -> Any:
    sys.path.insert(0, str(EXTENSION.parent))
    spec = importlib.util.spec_from_file_location("drawings_of_the_docs", EXTENSION)
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_drawing_of_a_turn_has_exactly_the_arrows_of_the_table(drawings: Any) -> None:
    drawn = {
        (start, end, frozenset(inputs.split()))
        for start, end, inputs in re.findall(
            r'data-from="(\w+)" data-to="(\w+)" data-by="([\w ]+)"', drawings.machine()
        )
    }
    table: dict[tuple[str, str], set[str]] = {}
    for phase, ways in TRANSITIONS.items():
        for what, target in ways.items():
            table.setdefault((phase.name, target.name), set()).add(what.name.lower())
    assert drawn == {(*ends, frozenset(inputs)) for ends, inputs in table.items()}


def test_each_state_of_the_table_is_drawn_once(drawings: Any) -> None:
    states = re.findall(r'data-state="(\w+)"', drawings.machine())
    assert sorted(states) == sorted(phase.name for phase in TRANSITIONS)


def test_each_position_belongs_to_an_arrow(drawings: Any) -> None:
    assert set(drawings._WAYS) == set(drawings.edges())


def test_the_drawing_of_the_outbox_has_exactly_the_arrows_and_states_of_the_table(
    drawings: Any,
) -> None:
    drawn = re.findall(r'data-from="(\w+)" data-to="(\w+)"', drawings.outbox())
    table = [(start.name, end.name) for start, ends in SENDS.items() for end in ends]
    assert sorted(drawn) == sorted(table)
    states = re.findall(r'data-state="(\w+)"', drawings.outbox())
    assert sorted(states) == sorted(state.name for state in SENDS)


def test_the_table_of_decisions_is_drawn_rule_for_rule(drawings: Any) -> None:
    drawn = re.findall(r'data-rule="(\w+) (\w+)"', drawings.decisions())
    assert drawn == [(rule.concern.name, rule.then.name) for rule in RULES]


@pytest.mark.parametrize("name", ["turn", "supervision", "decisions"])
def test_a_drawing_is_well_formed_and_has_a_title_for_screen_readers(
    drawings: Any, name: str
) -> None:
    root = ET.fromstring(drawings.DRAWINGS[name]())  # noqa: S314 - our own
    svg = root.find("{http://www.w3.org/2000/svg}svg")
    assert svg is not None
    assert svg.get("aria-label")
    assert svg.findtext("{http://www.w3.org/2000/svg}title") == svg.get("aria-label")
