"""A short soak test: it runs without growth, and its report shows growth."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

if TYPE_CHECKING:
    from types import ModuleType

_PATH = Path(__file__).parents[2] / "benchmarks" / "soak.py"


@pytest.fixture(scope="module")
def soak() -> ModuleType:
    spec = importlib.util.spec_from_file_location("trio_mix_soak", _PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["trio_mix_soak"] = module
    spec.loader.exec_module(module)
    return module


def test_hours_on_a_mock_clock_show_no_growth(soak: ModuleType) -> None:
    result = soak.on_a_fake_clock(hours=2.0)
    assert result.lasted >= 2 * 3600
    assert result.messages == result.replies + result.failed > 100
    assert result.losses > 10
    assert result.run_twice == 0
    assert result.grows() == [], str(result)


def test_seconds_on_real_sockets_with_faults_show_no_growth(soak: ModuleType) -> None:
    result = soak.on_sockets(seconds=3.0)
    assert result.messages == result.replies + result.failed > 0
    assert result.readings
    assert result.run_twice == 0
    assert [line for line in result.grows() if "memory" not in line] == [], str(result)


def test_no_stored_message_is_unknown_on_an_oldest_server(soak: ModuleType) -> None:
    result = soak.on_an_oldest_server(minutes=1.0)
    assert result.messages == result.replies + result.failed == 60
    assert result.recovered > 5
    assert (result.unknown, result.run_twice) == (0, 0), str(result)
    result = soak.on_an_oldest_server(minutes=0.5, jsonrpc=False)
    assert result.unknown_stored > 2


def test_every_way_in_and_out_at_once_fails_only_with_typed_errors(soak: ModuleType) -> None:
    result = soak.on_sockets(seconds=3.0, mixtures=2)
    assert sum(result.others.values()) >= 20
    assert result.run_twice == 0


def test_growth_is_reported(soak: ModuleType) -> None:
    result = soak.Soak("leaky")
    flat = soak.Reading(memory=2**26, objects=50_000, tasks=10, files=10, connections=2)
    result.readings = [attrs.evolve(flat, tasks=10 + number) for number in range(24)]
    assert [line.split()[0] for line in result.grows()] == ["tasks"]
    assert "NOT FLAT" in str(result)
