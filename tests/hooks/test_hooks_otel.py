"""OpenTelemetry: spans, metrics, context over the wire, and no text unless asked."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.support.hooks_kit import SECRET
from trio_mix import Mix, ReconnectPolicy, errors
from trio_mix.otel import instrument
from trio_mix.testing import Drop, Fail, MixServer, Say, Turn, WaitFor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from opentelemetry.sdk.trace import ReadableSpan

QUICK = ReconnectPolicy(initial_interval=0.01, max_interval=0.02)


class Telemetry:
    """Where spans and metrics go."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meters = MeterProvider(metric_readers=[self._reader])

    def client(self, server: MixServer, **more: Any) -> Mix:
        hooks = instrument(tracer_provider=self.tracers, meter_provider=self.meters, **more)
        return Mix(server.url, network=server.network, hooks=hooks)

    def spans(self, name: str = "") -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name.startswith(name)]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.spans(name)
        return span

    def points(self, name: str) -> list[Any]:
        data = self._reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data is not None else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


@pytest.fixture
async def server() -> AsyncIterator[MixServer]:
    async with MixServer(listen=False, pace=0.0) as server:
        server.script("hi", Turn(Say(f"{SECRET} reply")))
        server.script("break", Turn(Fail(f"{SECRET} is gone", type="api_error")))
        yield server


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_a_request_has_a_span_whose_id_travels_with_it(
    server: MixServer, telemetry: Telemetry
) -> None:
    async with telemetry.client(server) as mix:
        await mix.sessions.list()
        with pytest.raises(errors.ErrorResponse):
            await mix.sessions.get(id="none")
    good = telemetry.one("GET sessions.list")
    assert good.kind is SpanKind.CLIENT
    assert good.status.status_code is StatusCode.UNSET
    assert attributes(good) == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "server.address": "mix.test",
        "server.port": 80,
        "trio_mix.operation": "sessions.list",
        "url.full": attributes(good)["url.full"],
    }
    bad = telemetry.one("GET sessions.get")
    assert bad.status.status_code is StatusCode.ERROR
    assert attributes(bad)["error.type"] == "404"
    (request,) = server.requests("GET", "/api/sessions/none")
    context = bad.get_span_context()
    assert context is not None
    assert request.headers["traceparent"].split("-")[1:3] == [
        trace.format_trace_id(context.trace_id),
        trace.format_span_id(context.span_id),
    ]
    durations = telemetry.points("http.client.request.duration")
    assert {point.attributes["http.response.status_code"] for point in durations} == {200, 404}
    assert all("url.full" not in point.attributes for point in durations)


async def test_headers_are_left_alone_without_propagation(
    server: MixServer, telemetry: Telemetry
) -> None:
    async with telemetry.client(server, propagation=False) as mix:
        await mix.sessions.list()
    assert "traceparent" not in server.requests("GET", "/api/sessions")[0].headers


async def test_a_message_has_a_span_over_its_requests_and_the_callers_own(
    server: MixServer, telemetry: Telemetry
) -> None:
    tracer = telemetry.tracers.get_tracer("the caller's")
    session_id = server.create_session()
    async with telemetry.client(server) as mix, mix.open_stream(session_id) as session:
        with tracer.start_as_current_span("work") as work:
            async with session.send("hi") as message:
                await message.wait()
                with tracer.start_as_current_span("inside"):
                    pass
            assert trace.get_current_span() is work
    span = telemetry.one("invoke_agent")
    assert span.kind is SpanKind.CLIENT
    found = attributes(span)
    assert found["gen_ai.operation.name"] == "invoke_agent"
    assert found["gen_ai.provider.name"] == "mix"
    assert found["gen_ai.conversation.id"] == session_id
    assert found["gen_ai.response.id"] == message.reply.message_id
    assert found["trio_mix.outcome"] == "complete"
    assert "error.type" not in found
    context = span.get_span_context()
    assert context is not None
    for name in ("inside", "POST messages.send"):
        parent = telemetry.one(name).parent
        assert parent is not None
        assert parent.span_id == context.span_id, name
    assert span.parent is not None
    assert span.parent.span_id == work.get_span_context().span_id


async def test_messages_are_counted_and_timed(server: MixServer, telemetry: Telemetry) -> None:
    async with (
        telemetry.client(server) as mix,
        mix.open_stream(server.create_session()) as session,
    ):
        await session.ask("hi")
        await session.ask("hi")
        with pytest.raises(errors.AgentError):
            await session.ask("break")
        (streams,) = telemetry.points("trio_mix.streams")
        assert streams.value == 1
    (streams,) = telemetry.points("trio_mix.streams")
    assert streams.value == 0
    counted = {
        point.attributes["trio_mix.outcome"]: point.value
        for point in telemetry.points("trio_mix.messages")
    }
    assert counted == {"complete": 2, "failed": 1}
    durations = telemetry.points("gen_ai.client.operation.duration")
    assert {
        (point.attributes["gen_ai.operation.name"], point.attributes.get("error.type"))
        for point in durations
    } == {("invoke_agent", None), ("invoke_agent", "api_error")}
    assert sum(point.count for point in durations) == 3
    (first,) = telemetry.points("gen_ai.client.operation.time_to_first_chunk")
    assert first.count == 3
    failed = [span for span in telemetry.spans("invoke_agent") if not span.status.is_ok]
    assert [attributes(span)["error.type"] for span in failed] == ["api_error"]


@pytest.mark.parametrize("asked", [False, True])
async def test_texts_are_recorded_only_where_that_is_asked_for(
    server: MixServer, telemetry: Telemetry, asked: bool
) -> None:
    server.script(f"{SECRET} question", Turn(Say("fine")))
    async with (
        telemetry.client(server, capture_content=asked) as mix,
        mix.open_stream(server.create_session()) as session,
    ):
        await session.ask("hi")
        await session.ask(f"{SECRET} question")
        with pytest.raises(errors.AgentError):
            await session.ask("break")
        server.answer_next("/api/sessions", 400, body=SECRET.encode())
        with pytest.raises(errors.MixDefaultError):
            await mix.sessions.list()
    everything = "".join(span.to_json() for span in telemetry.spans())
    assert everything.count(SECRET) == 0 or asked
    if asked:
        hi, question, _broken = telemetry.spans("invoke_agent")
        assert SECRET in attributes(hi)["gen_ai.output.messages"]
        assert SECRET in attributes(question)["gen_ai.input.messages"]


async def test_over_a_reconnect_the_messages_span_goes_on_and_is_linked(
    server: MixServer, telemetry: Telemetry
) -> None:
    go = trio.Event()
    server.script("cut", Turn(Say("Half, "), Drop(), WaitFor(go), Say("and half.")))
    async with (
        telemetry.client(server) as mix,
        mix.open_stream(server.create_session(), reconnect=QUICK) as session,
    ):
        with trio.fail_after(10):
            async with session.send("cut") as message:
                await message.__anext__()
                while session.statistics().connects < 2:
                    await trio.testing.wait_all_tasks_blocked(0.01)
                await session.wait_connected()
                await trio.testing.wait_all_tasks_blocked()
                go.set()
                await message.wait()
    span = telemetry.one("invoke_agent")
    names = [event.name for event in span.events]
    assert names[:3] == ["stream.lost", "stream.retrying", "stream.opened"]
    assert attributes(span)["trio_mix.outcome"] == "complete"
    first, second = telemetry.spans("GET streaming.stream_events")
    assert not first.links
    (link,) = second.links
    assert link.context == span.get_span_context()
    (losses,) = telemetry.points("trio_mix.stream.losses")
    assert (losses.value, losses.attributes["trio_mix.planned"]) == (1, False)
    (reconnects,) = telemetry.points("trio_mix.stream.reconnects")
    assert reconnects.value == 1


async def test_a_message_left_in_another_task_gives_no_context_back(
    server: MixServer, telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        telemetry.client(server) as mix,
        mix.open_stream(server.create_session()) as session,
    ):
        message = session.send("hi")
        await message.__aenter__()

        async def leave() -> None:
            with telemetry.tracers.get_tracer("other").start_as_current_span("other") as other:
                await message.wait()
                await message.__aexit__(None, None, None)
                assert trace.get_current_span() is other

        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave)
    assert attributes(telemetry.one("invoke_agent"))["trio_mix.outcome"] == "complete"
    assert not caplog.records


async def test_a_cancelled_message_ends_its_span(server: MixServer, telemetry: Telemetry) -> None:
    async with (
        telemetry.client(server) as mix,
        mix.open_stream(server.create_session()) as session,
    ):
        with trio.CancelScope() as scope:
            async with session.send("hi"):
                scope.cancel()
                await trio.lowlevel.checkpoint()
        assert not trace.get_current_span().is_recording()
    span = telemetry.one("invoke_agent")
    assert attributes(span)["trio_mix.outcome"] in ("cancelled", "complete")
    assert span.status.status_code is StatusCode.UNSET


def test_importing_the_package_imports_no_opentelemetry() -> None:
    program = "import sys, trio_mix; print([m for m in sys.modules if 'opentelemetry' in m])"
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"
