"""Spans and metrics by OpenTelemetry, made of `trio_mix.Hooks`. Needs the extra ``otel``.

What it knows: OpenTelemetry's API, and what the semantic conventions call things.
What it must never know: its SDK, or anything of the client that hooks are not told.

Rules:

1. A message's span begins and ends with the message's scope and is the current one inside it. So
   the requests that are made for it, the sending again after a loss included, are its children.
2. What happens to the stream meanwhile is recorded on the spans of its open messages, and the
   span of each new connection links to them: over a reconnect, one finds from either the other.
3. No text of a message or a reply, and no text of an error, which may quote one, is recorded
   unless ``capture_content`` is set. Credentials never are.
4. Names are those of the conventions for HTTP clients and for generative AI (``invoke_agent``);
   what they have no name for begins with ``trio_mix.``.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, TypeAlias, cast
from urllib.parse import urlsplit

from opentelemetry import context as otel_context
from opentelemetry import metrics, propagate, trace
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from trio_mix._version import __version__
from trio_mix.errors import AgentError
from trio_mix.hooks import Hooks

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram, Meter, MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from trio_mix.hooks import (
        AfterErrorContext,
        AfterSuccessContext,
        BeforeRequestContext,
        MessageFinishedContext,
        MessageStartedContext,
        RequestContext,
        State,
        StreamClosedContext,
        StreamContext,
        StreamLostContext,
        StreamOpenedContext,
        StreamRetryingContext,
    )

__all__ = ["instrument"]

Attributes: TypeAlias = "dict[str, str | int | float | bool]"

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_AGENT: Final[Attributes] = {
    "gen_ai.operation.name": "invoke_agent",
    "gen_ai.provider.name": "mix",
}


def instrument(
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    propagation: bool = True,
    capture_content: bool = False,
) -> Hooks:
    """Return hooks that make spans and metrics: ``Mix(hooks=instrument())``.

    Spans: one for each message (``invoke_agent``), and one for each try of each request, the
    connects of streams included. Metrics, durations in seconds: ``http.client.request.duration``,
    ``gen_ai.client.operation.duration``, ``gen_ai.client.operation.time_to_first_chunk``,
    ``trio_mix.messages`` by outcome, ``trio_mix.stream.losses``, ``trio_mix.stream.reconnects``,
    and ``trio_mix.streams``, those that are open.

    Args:
      tracer_provider: where spans go; the global one by default.
      meter_provider: where metrics go; the global one by default.
      propagation: whether requests carry ``traceparent``, as the global propagator writes it.
      capture_content: whether the texts of messages, replies and errors are recorded.
    """
    tracer = trace.get_tracer("trio_mix", __version__, tracer_provider)
    meter = metrics.get_meter("trio_mix", __version__, meter_provider)
    spans = _OpenSpans()
    requests = _Requests(tracer, meter, spans, propagation, capture_content)
    messages = _Messages(tracer, meter, spans, capture_content)
    streams = _Streams(meter, spans)
    return Hooks(
        before_request=requests.before,
        after_success=requests.succeeded,
        after_error=requests.failed,
        stream_opened=streams.opened,
        stream_lost=streams.lost,
        stream_retrying=streams.retrying,
        stream_closed=streams.closed,
        message_started=messages.started,
        message_finished=messages.finished,
    )


class _OpenSpans:
    """The spans of the messages that are open, by their stream."""

    def add(self, state: State, span: Span) -> None:
        cast("list[Span]", state.setdefault(self, [])).append(span)

    def remove(self, state: State, span: Span) -> None:
        self.of(state).remove(span)

    def of(self, state: State | None) -> list[Span]:
        return cast("list[Span]", (state or {}).get(self, []))

    def record(self, told: StreamContext, name: str, attributes: Attributes) -> None:
        for span in self.of(told.state):
            span.add_event(name, attributes)


class _Requests:
    """The span and the duration of each try of a request."""

    def __init__(
        self,
        tracer: trace.Tracer,
        meter: Meter,
        spans: _OpenSpans,
        propagation: bool,
        capture_content: bool,
    ) -> None:
        self._tracer = tracer
        self._spans = spans
        self._propagation = propagation
        self._capture_content = capture_content
        self._duration = _histogram(
            meter, "http.client.request.duration", "Duration of HTTP client requests."
        )

    def before(self, told: BeforeRequestContext) -> None:
        attributes = _of_request(told)
        attributes["url.full"] = told.url
        if told.attempt > 1:
            attributes["http.request.resend_count"] = told.attempt - 1
        links = [Link(span.get_span_context()) for span in self._spans.of(told.stream_state)]
        span = self._tracer.start_span(
            f"{told.method} {told.operation}",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            links=links,
        )
        told.state[self] = span
        if self._propagation:
            propagate.inject(told.headers, context=trace.set_span_in_context(span))

    def succeeded(self, told: AfterSuccessContext) -> None:
        span = cast("Span", told.state[self])
        span.set_attribute("http.response.status_code", told.status_code)
        span.end()
        result: Attributes = {"http.response.status_code": told.status_code}
        self._duration.record(told.elapsed, _of_request(told) | result)

    def failed(self, told: AfterErrorContext) -> None:
        span = cast("Span", told.state[self])
        result = _of_error(told.error)
        if told.status_code is not None:
            result["http.response.status_code"] = told.status_code
            if told.status_code >= 300:
                result["error.type"] = str(told.status_code)
        span.set_attributes(result)
        _end_failed(span, told.error if self._capture_content else None)
        self._duration.record(told.elapsed, _of_request(told) | result)


class _Streams:
    """What happens to streams: counted, and recorded on the spans of their open messages."""

    def __init__(self, meter: Meter, spans: _OpenSpans) -> None:
        self._spans = spans
        self._streams = meter.create_up_down_counter(
            "trio_mix.streams", "{stream}", "Streams that have been connected and are not closed."
        )
        self._losses = meter.create_counter(
            "trio_mix.stream.losses", "{connection}", "Connections of streams that were lost."
        )
        self._reconnects = meter.create_counter(
            "trio_mix.stream.reconnects", "{connection}", "Connections made after a loss."
        )

    def opened(self, told: StreamOpenedContext) -> None:
        if told.connection == 1:
            told.state[self] = True
            self._streams.add(1)
        else:
            self._reconnects.add(1)
            self._spans.record(told, "stream.opened", {"trio_mix.connection": told.connection})

    def lost(self, told: StreamLostContext) -> None:
        planned: Attributes = {"trio_mix.planned": told.planned}
        self._losses.add(1, planned)
        self._spans.record(told, "stream.lost", {"trio_mix.reason": told.reason, **planned})

    def retrying(self, told: StreamRetryingContext) -> None:
        self._spans.record(
            told,
            "stream.retrying",
            {
                "trio_mix.attempt": told.attempt,
                "trio_mix.delay": told.delay,
                "trio_mix.reason": told.reason,
            },
        )

    def closed(self, told: StreamClosedContext) -> None:
        if told.state.pop(self, False):
            self._streams.add(-1)
        self._spans.record(
            told, "stream.closed", {} if told.error is None else _of_error(told.error)
        )


class _Messages:
    """The span and the figures of each message."""

    def __init__(
        self, tracer: trace.Tracer, meter: Meter, spans: _OpenSpans, capture_content: bool
    ) -> None:
        self._tracer = tracer
        self._spans = spans
        self._capture_content = capture_content
        self._duration = _histogram(
            meter, "gen_ai.client.operation.duration", "Duration of messages."
        )
        self._first_event = _histogram(
            meter,
            "gen_ai.client.operation.time_to_first_chunk",
            "Time from a message's turn to its first event.",
        )
        self._messages = meter.create_counter(
            "trio_mix.messages", "{message}", "Messages, by how they ended."
        )

    def started(self, told: MessageStartedContext) -> None:
        attributes: Attributes = {**_AGENT, "gen_ai.conversation.id": told.session_id}
        if told.plan_mode:
            attributes["trio_mix.plan_mode"] = True
        if self._capture_content:
            attributes["gen_ai.input.messages"] = _spoken("user", told.text)
        before = otel_context.get_current()
        span = self._tracer.start_span(
            "invoke_agent", context=before, kind=SpanKind.CLIENT, attributes=attributes
        )
        told.state[self] = span, before
        self._spans.add(told.stream_state, span)
        otel_context.attach(trace.set_span_in_context(span))

    def finished(self, told: MessageFinishedContext) -> None:
        span, before = cast("tuple[Span, otel_context.Context]", told.state[self])
        self._spans.remove(told.stream_state, span)
        if trace.get_current_span() is span:  # else another task leaves the scope than entered it
            otel_context.attach(before)
        outcome: Attributes = {"trio_mix.outcome": told.outcome}
        failure = told.error if told.outcome in ("failed", "rejected") else None
        error = {} if failure is None else _of_error(failure)
        span.set_attributes(outcome | error | self._of_reply(told))
        if failure is None:
            span.end()
        else:
            _end_failed(span, failure if self._capture_content else None)
        self._messages.add(1, outcome)
        self._duration.record(told.elapsed, _AGENT | error)
        if told.first_event is not None:
            self._first_event.record(told.first_event, _AGENT)

    def _of_reply(self, told: MessageFinishedContext) -> Attributes:
        found: Attributes = {}
        if told.waited is not None:
            found["trio_mix.waited"] = told.waited
        if told.first_event is not None:
            found["gen_ai.response.time_to_first_chunk"] = told.first_event
        if told.reply is None:
            return found
        found["trio_mix.recovered"] = told.recovered
        found["trio_mix.resent"] = told.resent
        found["trio_mix.tool_calls"] = len(told.reply.tool_calls)
        if told.reply.message_id is not None:
            found["gen_ai.response.id"] = told.reply.message_id
        if self._capture_content and told.reply.text:
            found["gen_ai.output.messages"] = _spoken("assistant", told.reply.text)
        return found


def _of_request(told: RequestContext) -> Attributes:
    """Return the attributes that spans and metrics of a request share, all of few values."""
    server = urlsplit(told.url)
    return {
        "http.request.method": told.method,
        "server.address": server.hostname or "",
        "server.port": server.port or (443 if server.scheme == "https" else 80),
        "trio_mix.operation": told.operation,
    }


def _of_error(error: BaseException) -> Attributes:
    kind = type(error).__qualname__
    if isinstance(error, AgentError) and error.event.type:
        kind = error.event.type
    return {"error.type": kind}


def _end_failed(span: Span, error: BaseException | None) -> None:
    if error is not None:
        span.record_exception(error)
    span.set_status(Status(StatusCode.ERROR, None if error is None else str(error)))
    span.end()


def _spoken(role: str, text: str) -> str:
    return json.dumps(
        [{"role": role, "parts": [{"type": "text", "content": text}]}], ensure_ascii=False
    )


def _histogram(meter: Meter, name: str, description: str) -> Histogram:
    try:
        return meter.create_histogram(
            name, "s", description, explicit_bucket_boundaries_advisory=_SECONDS
        )
    except TypeError:  # an API older than this advice
        return meter.create_histogram(name, "s", description)
