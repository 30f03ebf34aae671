"""The pytest plugin, as in another project."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from trio_mix.errors import MixDefaultError
from trio_mix.testing import Answer, Cut, MixServer, Pause, Rule, Say, Turn

if TYPE_CHECKING:
    from trio.testing import MockClock

    from tests.testing.conftest import RunPytest
    from trio_mix import Mix
    from trio_mix.testing import FaultProxy


async def test_the_server_is_in_memory_and_works_with_the_autojump_clock(
    mix: Mix, mix_server: MixServer, autojump_clock: MockClock
) -> None:
    assert mix_server.in_memory
    mix_server.script("Hi", Turn(Pause(300), Say("Hello")))
    async with mix.open_session() as session:
        assert (await session.ask("Hi")).text == "Hello"
    assert 300 <= trio.current_time() < 310


@pytest.mark.mix_server("pipeline", replay=True, listen=True)
@pytest.mark.mix(timeout=7.0, api="pipeline")
async def test_markers_set_the_arguments(mix: Mix, mix_server: MixServer) -> None:
    assert (mix_server.api, mix_server.in_memory) == ("pipeline", False)
    assert mix.api == "pipeline"
    with trio.fail_after(10):
        async with mix.open_session() as session:
            assert (await session.ask("Hi")).text


@pytest.mark.mix_server(api="pipeline", version="0.6.4")
class TestMarkers:
    @pytest.mark.mix_server(version="0.6.9")
    async def test_the_closest_marker_wins(self, mix_server: MixServer) -> None:
        assert (mix_server.api, mix_server.version) == ("pipeline", "0.6.9")


@pytest.mark.parametrize("mix_server", ["blocking", {"api": "blocking"}], indirect=True)
async def test_a_parameter_is_an_api_or_a_mapping_of_arguments(mix_server: MixServer) -> None:
    assert mix_server.api == "blocking"


@pytest.mark.fault_proxy(Rule(Cut(500), path="/stream", connections=[1]))
async def test_the_client_connects_through_the_proxy_if_the_test_uses_it(
    mix: Mix, mix_server: MixServer, fault_proxy: FaultProxy, autojump_clock: MockClock
) -> None:
    mix_server.script("Hi", Turn(Say("Hello you there")))
    async with mix.open_session() as session:
        assert (await session.ask("Hi")).text == "Hello you there"
        assert session.statistics().reconnects == 1
    assert fault_proxy.statistics().by_kind == {"Cut": 1}


@pytest.mark.fault_proxy(seed=3, kinds=["cut"])
async def test_a_proxy_may_have_a_random_plan(fault_proxy: FaultProxy) -> None:
    assert repr(fault_proxy.plan) == "FaultPlan.random(3)"


async def test_without_a_proxy_the_client_connects_to_the_server(
    request: pytest.FixtureRequest, mix: Mix, mix_server: MixServer
) -> None:
    assert "fault_proxy" not in request.fixturenames
    await mix.sessions.list()
    assert len(mix_server.requests("GET", "/api/sessions")) == 1


def test_loading_the_plugin_imports_none_of_the_packages_parts() -> None:
    code = (
        "import sys, trio_mix._pytest_plugin\n"
        "heavy = {'trio_mix.events', 'trio_mix.testing', 'trio', 'httpx', 'httpcore', 'h11'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_pytest_loads_the_plugin_without_importing_its_parts(run_pytest: RunPytest) -> None:
    code, out = run_pytest(
        "import sys\n"
        "def test_it(pytestconfig):\n"
        "    assert pytestconfig.pluginmanager.hasplugin('trio_mix')\n"
        "    assert 'trio_mix.testing' not in sys.modules\n"
        "    markers = pytestconfig.getini('markers')\n"
        "    assert any(marker.startswith('mix_server(api, **options)') for marker in markers)\n"
    )
    assert code == 0, out


EXPLICIT = """
import pytest
from trio_mix.testing import Rule, Cut

@pytest.mark.trio
@pytest.mark.fault_proxy(Rule(Cut(500), path="/stream", connections=[1]))
async def test_it(mix, fault_proxy, autojump_clock):
    async with mix.open_session() as session:
        assert (await session.ask("Hi")).text
    assert fault_proxy.statistics().faults == 1
"""


def test_the_fixtures_work_with_explicit_marks_too(run_pytest: RunPytest) -> None:
    code, out = run_pytest(EXPLICIT, "-rA", ini="")
    assert code == 0, out
    assert "timeline" not in out  # shown for failures only


FAILING = """
import pytest
from trio_mix.testing import Cut, Rule, Say, Turn, assert_ran_once

async def test_plain(mix, mix_server):
    mix_server.script("Hi", Turn(Say("Hello")))
    async with mix.open_session() as session:
        assert (await session.ask("Hi")).text == "Goodbye"

async def test_ours(mix, mix_server):
    assert_ran_once(mix_server, "Hi")

@pytest.mark.mix_server(lisnt=True)
async def test_typo(mix_server): pass

@pytest.mark.mix(tmeout=1)
async def test_typo_of_the_client(mix): pass

@pytest.mark.fault_proxy("rule", seed=1)
async def test_rules_and_seed(fault_proxy): pass

@pytest.mark.fault_proxy(Cut(7))
async def test_no_rule(mix, fault_proxy): pass

@pytest.mark.fault_proxy(Rule(Cut(0), path="/api/sessions"))
async def test_faulty(mix, fault_proxy):
    await mix.sessions.create(title="Hi")
"""


def test_failures_show_timeline_and_faults_and_errors_name_their_marker(
    run_pytest: RunPytest,
) -> None:
    code, out = run_pytest(FAILING)
    assert code == 1, out
    assert "7 failed" in out
    plain, ours = out.split("___ test_plain ___")[1].split("___ test_ours ___")
    assert plain.count("The server's timeline") == 1
    assert "the agent runs 'Hi' (run 1)" in plain
    assert "< stream 1: user_message_created, content, complete" in plain
    assert ours.split("___ test_typo ___")[0].count("The server's timeline") == 1
    assert "@pytest.mark.mix_server: MixServer.__init__() got an unexpected" in out
    assert "@pytest.mark.mix: Mix.__init__() got an unexpected" in out
    assert "takes either rules or arguments of FaultPlan.random" in out
    assert "@pytest.mark.fault_proxy: FaultPlan() takes rules" in out
    assert "FaultPlan(Rule(faults=(Cut(at=0" in out
    assert "connection 1, POST /api/sessions: Cut(at=0" in out


@pytest.mark.parametrize("fault_proxy", [3, {"seed": 3, "kinds": ["cut"]}], indirect=True)
async def test_a_proxys_parameter_is_a_seed_or_a_mapping_of_arguments(
    fault_proxy: FaultProxy,
) -> None:
    assert repr(fault_proxy.plan) == "FaultPlan.random(3)"


@pytest.mark.fault_proxy(Rule(Answer(503), path="/api/sessions"))
async def test_a_marked_proxy_is_used_even_if_the_test_does_not_request_it(mix: Mix) -> None:
    with pytest.raises(MixDefaultError, match="503"):
        await mix.sessions.create(title="Hi")
