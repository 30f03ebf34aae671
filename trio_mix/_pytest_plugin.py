"""The pytest plugin: fixtures for a Mix server, a client of it, and a fault proxy between them.

Rules:

1. The markers take the arguments of `MixServer`, `Mix` and `FaultPlan`. By default the server is in
   memory, so that `autojump_clock` works, and its default agent makes no pauses.
2. The fixtures are async generators: pytest-trio runs them, with ``trio_mode`` or with explicit
   marks, and so does the plugin of anyio. A test that is no coroutine function is refused when it
   is collected.
3. The server is strict by default: a test that passed fails if a message ran that no script
   matches, or a script was never used. The failure of a test is never replaced by that.
4. When a test fails, the timelines of its servers and the faults of its proxies are shown below the
   traceback.
5. The parts of the package are imported in the fixtures: pytest loads plugins in every run, also of
   projects that do not use Mix.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Generator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from trio_mix import Mix
    from trio_mix.testing import FaultProxy, MixServer

_SERVERS: pytest.StashKey[list[MixServer]] = pytest.StashKey()
_STRICT: pytest.StashKey[list[MixServer]] = pytest.StashKey()
_PROXIES: pytest.StashKey[list[FaultProxy]] = pytest.StashKey()
_TITLE = "The server's timeline"
_MARKERS = (
    """mix_server(api, **options): the arguments of the MixServer of `mix_server`; \
listen=True for a real socket instead of a network in memory, strict=False to allow messages \
without a script and scripts without a message""",
    "mix(**options): the arguments of the Mix client of `mix`",
    """fault_proxy(*rules, **random): the rules of `fault_proxy`, or the arguments of \
FaultPlan.random, for example seed=7""",
)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers."""
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker)


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, None]:
    """Refuse tests that use the fixtures and are no coroutine functions (rule 2)."""
    outcome = yield
    report: pytest.CollectReport = outcome.get_result()
    refused = [item for item in report.result if isinstance(item, pytest.Function)]
    refused = [item for item in refused if not _is_async(item) and _own_fixtures(item)]
    if refused:
        names = "".join(
            f"\n  {item.name} (uses {', '.join(_own_fixtures(item))})" for item in refused
        )
        report.outcome = "failed"
        report.longrepr = (
            "The fixtures of trio_mix run a server in the event loop of the test, and a test that "
            "is no coroutine function has none. Make these tests `async def`, with pytest-trio's "
            f"trio_mode or @pytest.mark.trio:{names}"
        )
        report.result = []


def _is_async(item: pytest.Function) -> bool:
    """Return whether a test is a coroutine function, for Hypothesis the one that it wraps."""
    inner = getattr(getattr(item.obj, "hypothesis", None), "inner_test", item.obj)
    return inspect.iscoroutinefunction(inner)


def _own_fixtures(item: pytest.Function) -> list[str]:
    """Return the names of this plugin's fixtures that a test uses, itself or through others."""
    found = item._fixtureinfo.name2fixturedefs  # what each name means for this test
    return [
        name
        for name in ("mix", "mix_server", "fault_proxy")
        if name in item.fixturenames
        and any(each.func.__module__ == __name__ for each in found.get(name, ())[-1:])
    ]


@pytest.hookimpl(hookwrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, None]:
    """Fail a test that passed although its server did not run as scripted (rule 3)."""
    outcome = yield
    if outcome.excinfo is not None:
        return
    for server in pyfuncitem.stash.get(_STRICT, []):
        from trio_mix.testing import assert_as_scripted

        try:
            assert_as_scripted(server)
        except AssertionError as failure:
            outcome.force_exception(failure)
            return


@pytest.fixture
async def mix_server(request: pytest.FixtureRequest) -> AsyncGenerator[MixServer]:
    """Run a trio_mix.testing.MixServer in this process, in memory by default.

    ``@pytest.mark.mix_server(api="pipeline", replay=True)`` sets its arguments. With indirect
    parametrization, the parameter is an API's name or a mapping of arguments. The server is strict
    unless ``strict=False`` is among the arguments.
    """
    from trio_mix.testing import MixServer

    options: dict[str, Any] = {"listen": False, "pace": 0.0, **_options(request, "mix_server")}
    given = getattr(request, "param", {})
    options |= given if isinstance(given, Mapping) else {"api": given}
    strict = options.pop("strict", True)  # checked by `pytest_pyfunc_call`
    try:
        server = MixServer(**options)
    except TypeError as error:
        raise TypeError(f"@pytest.mark.mix_server: {error}") from None
    request.node.stash.setdefault(_SERVERS, []).append(server)
    if strict:
        request.node.stash.setdefault(_STRICT, []).append(server)
    async with server:
        yield server


@pytest.fixture
async def fault_proxy(
    request: pytest.FixtureRequest, mix_server: MixServer
) -> AsyncGenerator[FaultProxy]:
    """Run a trio_mix.testing.FaultProxy before `mix_server`; `mix` connects through it.

    ``@pytest.mark.fault_proxy(Rule(Cut(400), path="/stream"))`` sets its faults; a test can also
    set ``fault_proxy.plan`` at any time, for later connections. With indirect parametrization, the
    parameter is a seed, or a mapping of arguments of ``FaultPlan.random``.
    """
    from trio_mix.testing import FaultPlan, FaultProxy

    random = _options(request, "fault_proxy")
    given = getattr(request, "param", {})
    random |= given if isinstance(given, Mapping) else {"seed": given}
    rules = [rule for mark in request.node.iter_markers("fault_proxy") for rule in mark.args]
    if random and rules:
        raise ValueError(
            "@pytest.mark.fault_proxy takes either rules or arguments of FaultPlan.random"
        )
    try:
        plan = FaultPlan.random(**random) if random else FaultPlan(*rules)
    except TypeError as error:
        raise TypeError(f"@pytest.mark.fault_proxy: {error}") from None
    async with FaultProxy(mix_server, plan) as proxy:
        request.node.stash.setdefault(_PROXIES, []).append(proxy)
        yield proxy


@pytest.fixture
def _mix_target(request: pytest.FixtureRequest) -> MixServer | FaultProxy:
    # This may be pytest-trio's placeholder for the object. pytest-trio replaces it before `mix`,
    # which requests this fixture, runs.
    marked = request.node.get_closest_marker("fault_proxy") is not None
    proxied = marked or "fault_proxy" in request.fixturenames
    target: MixServer | FaultProxy = request.getfixturevalue(
        "fault_proxy" if proxied else "mix_server"
    )
    return target


@pytest.fixture
async def mix(
    request: pytest.FixtureRequest, _mix_target: MixServer | FaultProxy
) -> AsyncGenerator[Mix]:
    """Open a trio_mix.Mix client of `mix_server`, through `fault_proxy` if the test uses that.

    ``@pytest.mark.mix(timeout=5.0)`` sets its arguments.
    """
    from trio_mix import Mix

    options = _options(request, "mix")
    if _mix_target.in_memory and "http_client" not in options:
        options.setdefault("network", _mix_target.network)
    try:
        client = Mix(_mix_target.url, **options)
    except TypeError as error:
        raise TypeError(f"@pytest.mark.mix: {error}") from None
    async with client:
        yield client


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Show what a failed test's servers and proxies did."""
    outcome = yield
    report: pytest.TestReport = outcome.get_result()
    if report.when != "call" or not report.failed:
        return
    for server in item.stash.get(_SERVERS, []):
        if _TITLE not in report.longreprtext:  # an assertion of trio_mix.testing shows it already
            report.sections.append((f"{_TITLE} (> received, < sent)", server.timeline))
    for server in item.stash.get(_STRICT, []):
        if server.deviations and "did not run as scripted" not in report.longreprtext:
            listed = "\n".join(f"- {each}" for each in server.deviations)
            report.sections.append(("The server did not run as scripted", listed))
    for proxy in item.stash.get(_PROXIES, []):
        faults = [f"connection {r.connection}, {r.request}: {r.fault}" for r in proxy.log]
        report.sections.append(("The faults of the proxy", "\n".join([repr(proxy.plan), *faults])))


def _options(request: pytest.FixtureRequest, marker: str) -> dict[str, Any]:
    """Return the arguments of the markers; the closest to the test takes precedence."""
    options: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers(marker))):
        options |= mark.kwargs
        if mark.args and marker == "mix_server":
            (options["api"],) = mark.args
        elif mark.args and marker == "mix":
            raise TypeError("@pytest.mark.mix takes keyword arguments only")
    return options
