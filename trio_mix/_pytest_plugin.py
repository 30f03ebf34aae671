"""The pytest plugin: a Mix server, a client of it, and accidents between them, as fixtures.

What it knows: what the markers are called. What it must never know: how any of the three works; it
imports them only inside the fixtures, for pytest loads plugins in every run, also in those that
have nothing to do with Mix.

Rules:

1. What the markers say is what `MixServer`, `Mix` and `FaultPlan` take; there is no second set of
   options. By default the server is in memory, so that `autojump_clock` works, and its default
   agent makes no pauses.
2. The fixtures are plain async generators: pytest-trio runs them, with ``trio_mode`` or with
   explicit marks.
3. When a test fails, what its servers have seen and its proxies have done is shown below the
   traceback.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from trio_mix import Mix
    from trio_mix.testing import FaultProxy, MixServer

_SERVERS: pytest.StashKey[list[MixServer]] = pytest.StashKey()
_PROXIES: pytest.StashKey[list[FaultProxy]] = pytest.StashKey()
_TITLE = "The server's timeline"
_MARKERS = (
    """mix_server(api, **options): what `mix_server` gives to trio_mix.testing.MixServer; \
listen=True for a real socket instead of a network in memory""",
    "mix(**options): what `mix` gives to trio_mix.Mix besides the server",
    """fault_proxy(*rules, **random): the rules of `fault_proxy`, or what it gives to \
FaultPlan.random, as seed=7""",
)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)


@pytest.fixture
async def mix_server(request: pytest.FixtureRequest) -> AsyncGenerator[MixServer]:
    """Run a Mix server in this process: a trio_mix.testing.MixServer, in memory if not marked.

    ``@pytest.mark.mix_server(api="pipeline", replay=True)`` sets its options. Parametrized
    indirectly, it takes an API's name or a mapping of options.
    """
    from trio_mix.testing import MixServer

    options: dict[str, Any] = {"listen": False, "pace": 0.0, **_options(request, "mix_server")}
    given = getattr(request, "param", {})
    options |= given if isinstance(given, Mapping) else {"api": given}
    try:
        server = MixServer(**options)
    except TypeError as error:
        raise TypeError(f"@pytest.mark.mix_server: {error}") from None
    request.node.stash.setdefault(_SERVERS, []).append(server)
    async with server:
        yield server


@pytest.fixture
async def fault_proxy(
    request: pytest.FixtureRequest, mix_server: MixServer
) -> AsyncGenerator[FaultProxy]:
    """Put a trio_mix.testing.FaultProxy before `mix_server`; `mix` then goes through it.

    ``@pytest.mark.fault_proxy(Rule(Cut(400), path="/stream"))`` says what goes wrong; a test can
    also set ``fault_proxy.plan`` at any time, for connections to come. Parametrized indirectly,
    it takes a seed, or a mapping of what ``FaultPlan.random`` takes.
    """
    from trio_mix.testing import FaultPlan, FaultProxy

    random = _options(request, "fault_proxy")
    given = getattr(request, "param", {})
    random |= given if isinstance(given, Mapping) else {"seed": given}
    rules = [rule for mark in request.node.iter_markers("fault_proxy") for rule in mark.args]
    if random and rules:
        raise ValueError("@pytest.mark.fault_proxy takes rules, or what FaultPlan.random takes")
    try:
        plan = FaultPlan.random(**random) if random else FaultPlan(*rules)
    except TypeError as error:
        raise TypeError(f"@pytest.mark.fault_proxy: {error}") from None
    async with FaultProxy(mix_server, plan) as proxy:
        request.node.stash.setdefault(_PROXIES, []).append(proxy)
        yield proxy


@pytest.fixture
def _mix_road(request: pytest.FixtureRequest) -> MixServer | FaultProxy:
    # What comes back here may be pytest-trio's promise of the object: it is kept for `mix`, which
    # names this fixture, and made true before that runs.
    marked = request.node.get_closest_marker("fault_proxy") is not None
    proxied = marked or "fault_proxy" in request.fixturenames
    road: MixServer | FaultProxy = request.getfixturevalue(
        "fault_proxy" if proxied else "mix_server"
    )
    return road


@pytest.fixture
async def mix(
    request: pytest.FixtureRequest, _mix_road: MixServer | FaultProxy
) -> AsyncGenerator[Mix]:
    """Make a trio_mix.Mix, a client of `mix_server`, through `fault_proxy` where a test uses that.

    ``@pytest.mark.mix(timeout=5.0)`` sets its options.
    """
    from trio_mix import Mix

    options = _options(request, "mix")
    if _mix_road.in_memory and "http_client" not in options:
        options.setdefault("network", _mix_road.network)
    try:
        client = Mix(_mix_road.url, **options)
    except TypeError as error:
        raise TypeError(f"@pytest.mark.mix: {error}") from None
    async with client:
        yield client


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Show what the servers of a failed test have seen."""
    outcome = yield
    report: pytest.TestReport = outcome.get_result()
    if report.when != "call" or not report.failed:
        return
    for server in item.stash.get(_SERVERS, []):
        if _TITLE not in report.longreprtext:  # else an assertion of ours has shown it
            report.sections.append((f"{_TITLE} (> received, < sent)", server.timeline))
    for proxy in item.stash.get(_PROXIES, []):
        struck = [f"connection {r.connection}, {r.request}: {r.fault}" for r in proxy.log]
        report.sections.append(("What the proxy did", "\n".join([repr(proxy.plan), *struck])))


def _options(request: pytest.FixtureRequest, marker: str) -> dict[str, Any]:
    """Return what the markers say, the closest to the test winning."""
    options: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers(marker))):
        options |= mark.kwargs
        if mark.args and marker == "mix_server":
            (options["api"],) = mark.args
        elif mark.args and marker == "mix":
            raise TypeError("@pytest.mark.mix takes only options by name")
    return options
