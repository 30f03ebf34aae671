"""The pytest plugin, as in another project."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from trio_mix import Mix
from trio_mix.errors import MixDefaultError
from trio_mix.testing import (
    Answer,
    Cut,
    MixServer,
    Pause,
    Rule,
    Say,
    Turn,
    assert_as_scripted,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

    from tests.testing.conftest import RunPytest
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
    mix_server.script("Hi", Turn(Say("Hello")))
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
from trio_mix.testing import Cut, Rule, Say, Turn

@pytest.mark.trio
@pytest.mark.fault_proxy(Rule(Cut(500), path="/stream", connections=[1]))
async def test_it(mix, mix_server, fault_proxy, autojump_clock):
    mix_server.script("Hi", Turn(Say("Hello, and good morning")))
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

async def test_plain(mix, mix_server, autojump_clock):
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


STRICT = """
import re
import pytest
from hypothesis import HealthCheck, given, settings, strategies
from trio_mix.testing import Say, Turn

async def ask(mix, text):
    async with mix.open_session() as session:
        return (await session.ask(text)).text

async def test_typo(mix, mix_server):
    mix_server.script("Hallo", Turn(Say("Hello")))
    assert await ask(mix, "Hello")

async def test_unscripted(mix):
    assert await ask(mix, "Hi\x1b")

async def test_unused(mix, mix_server):
    mix_server.script(re.compile("^H"), Turn(Say("one")))
    mix_server.script(lambda text: text == "Hi", Turn(Say("two")))
    assert await ask(mix, "Hi") == "two"

async def test_own_failure(mix, mix_server):
    mix_server.script("Hallo", Turn(Say("Hello")))
    assert await ask(mix, "Hello") == "Hello"

@pytest.mark.xfail(strict=True)
async def test_expected_to_fail(mix):
    await ask(mix, "Hi")

@settings(max_examples=3, database=None, suppress_health_check=list(HealthCheck))
@given(text=strategies.sampled_from(["a", "b"]))
async def test_property(mix, mix_server, text):
    mix_server.script("a", Turn(Say("A")))
    await ask(mix, text)

@pytest.mark.mix_server(strict=False)
async def test_allowed(mix, mix_server):
    mix_server.script("Hallo", Turn(Say("Hello")))
    assert await ask(mix, "Hello")

async def test_right(mix, mix_server):
    mix_server.script("Hi", Turn(Say("Hello")))
    assert await ask(mix, "Hi") == "Hello"
    assert "help" in await ask(mix, "/help")

async def test_without_a_message(mix):
    await mix.sessions.list()
"""


def test_messages_without_a_script_and_scripts_without_a_message_are_reported(
    run_pytest: RunPytest,
) -> None:
    code, out = run_pytest(STRICT)
    assert code == 1, out
    assert "5 failed, 3 passed, 1 xfailed" in out
    parts = {part.split(" ", 1)[0]: part for part in out.split("___ test_")}
    typo = parts["typo"]
    assert "no script matches the message 'Hello', so the default agent ran it" in typo
    assert "the scripts are for: 'Hallo'" in typo
    assert "the script for 'Hallo' was never used" in typo
    assert "strict=False" in typo
    assert typo.count("The server's timeline") == 1
    assert "the scripts are for: none" in parts["unscripted"]
    assert "\x1b" not in out
    assert "the script for re.compile('^H') was never used" in parts["unused"]
    assert "the function" not in parts["unused"].split("AssertionError: ")[1].split("Fix")[0]
    own = parts["own_failure"]
    assert "AssertionError: assert 'I have read" in own or "AssertionError: assert 'Hello!" in own
    assert "- The server did not run as scripted -" in own
    assert "did not run as scripted" in parts["property"]


SYNC = """
import pytest

@pytest.fixture
async def thing(mix_server):
    yield mix_server

class TestIt:
    def test_method(self, thing): pass
    async def test_async(self, thing): pass

class TestMore:
    def test_sync(self, mix, tmp_path): pass

def test_other(tmp_path): pass
"""


def test_a_test_that_is_no_coroutine_function_is_refused_when_it_is_collected(
    run_pytest: RunPytest,
) -> None:
    code, out = run_pytest(SYNC)
    assert code == 2, out
    assert "Make these tests `async def`" in out
    assert "test_sync (uses mix)" in out
    assert "test_method (uses mix_server)" in out
    assert "test_async" not in out
    assert "Interrupted: 2 errors during collection" in out


OVERRIDDEN = """
import pytest

@pytest.fixture
def mix():
    return "an ingredient"

def test_sync(mix):
    assert mix == "an ingredient"
"""


def test_a_fixture_of_another_project_with_the_same_name_is_left_alone(
    run_pytest: RunPytest,
) -> None:
    code, out = run_pytest(OVERRIDDEN)
    assert code == 0, out


ANYIO = """
import pytest
from trio_mix.testing import Rule, Cut, Say, Turn

pytestmark = pytest.mark.anyio

@pytest.fixture
def anyio_backend():
    return "trio"

async def test_right(mix, mix_server):
    mix_server.script("Hi", Turn(Say("Hello")))
    async with mix.open_session() as session:
        assert (await session.ask("Hi")).text == "Hello"

@pytest.mark.fault_proxy(Rule(Cut(0), path="/api/sessions"))
async def test_fault(mix, fault_proxy):
    await mix.sessions.create(title="Hi")

async def test_unscripted(mix):
    async with mix.open_session() as session:
        await session.ask("Hi")
"""


@pytest.mark.parametrize("plugins", ["both", "anyio only"])
def test_the_fixtures_work_with_the_plugin_of_anyio(run_pytest: RunPytest, plugins: str) -> None:
    extra = ["-p", "no:trio"] if plugins == "anyio only" else []
    code, out = run_pytest(ANYIO, *extra, ini="")
    assert code == 1, out
    assert "2 failed, 1 passed" in out
    assert "connection 1, POST /api/sessions: Cut(at=0" in out
    assert "no script matches the message 'Hi'" in out


async def test_a_strict_server_without_the_fixture_reports_when_it_is_left() -> None:
    with pytest.raises(AssertionError, match="the script for 'Hi' was never used"):
        async with MixServer(listen=False, strict=True) as server:
            server.script("Hi", Turn(Say("Hello")))
    with pytest.raises(KeyError):  # its own failure
        async with MixServer(listen=False, strict=True) as server:
            server.script("Hi", Turn(Say("Hello")))
            raise KeyError


async def test_what_a_server_reports_of_many_messages_is_bounded() -> None:
    async with MixServer(listen=False, pace=0.0) as server:
        async with Mix(server.url, network=server.network) as mix, mix.open_session() as session:
            for number in [0, 0, *range(30)]:
                await session.ask(f"Hi {number}")
        listed = server.deviations
        assert len(listed) == 21
        assert "no script matches the message 'Hi 0' (3 times), so" in listed[0]
        assert listed[-1] == "no script matches 10 more messages"
        with pytest.raises(AssertionError, match="no script matches 10 more messages"):
            assert_as_scripted(server)
