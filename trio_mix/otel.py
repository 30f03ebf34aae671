"""OpenTelemetry spans and metrics, recorded by `trio_mix.Hooks`. Needs the extra ``otel``.

Rules:

1. A message's span begins and ends with the message's scope and is the current one inside it. So
   the requests that are made for it are its children, also those of a recovery.
2. What happens to the stream meanwhile is recorded on the spans of its open messages, and the
   span of each new connection links to them: across a reconnect, each can be found from the other.
3. No text of a message or a reply, and no text of an error, which may quote one, is recorded
   unless ``capture_content`` is set. Credentials never are.
4. Names follow the conventions for HTTP clients and for generative AI (``invoke_agent``); all
   other names begin with ``trio_mix.``.
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
      tracer_provider: the provider of the tracer; the global one by default.
      meter_provider: the provider of the meter; the global one by default.
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
    """The spans of the open messages, by their stream."""

    def add(self, state: State, span: Span) -> None:
        cast("list[Span]", state.setdefault(self, [])).append(span)

    def remove(self, state: State, span: Span) -> None:
        self.of(state).remove(span)

    def of(self, state: State | None) -> list[Span]:
        return cast("list[Span]", (state or {}).get(self, []))

    def record(self, context: StreamContext, name: str, attributes: Attributes) -> None:
        for span in self.of(context.state):
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

    def before(self, context: BeforeRequestContext) -> None:
        attributes = _of_request(context)
        attributes["url.full"] = context.url
        if context.attempt > 1:
            attributes["http.request.resend_count"] = context.attempt - 1
        links = [Link(span.get_span_context()) for span in self._spans.of(context.stream_state)]
        span = self._tracer.start_span(
            f"{context.method} {context.operation}",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            links=links,
        )
        context.state[self] = span
        if self._propagation:
            propagate.inject(context.headers, context=trace.set_span_in_context(span))

    def succeeded(self, context: AfterSuccessContext) -> None:
        span = cast("Span", context.state[self])
        span.set_attribute("http.response.status_code", context.status_code)
        span.end()
        result: Attributes = {"http.response.status_code": context.status_code}
        self._duration.record(context.elapsed, _of_request(context) | result)

    def failed(self, context: AfterErrorContext) -> None:
        span = cast("Span", context.state[self])
        result = _of_error(context.error)
        if context.status_code is not None:
            result["http.response.status_code"] = context.status_code
            if context.status_code >= 300:
                result["error.type"] = str(context.status_code)
        span.set_attributes(result)
        _end_failed(span, context.error if self._capture_content else None)
        self._duration.record(context.elapsed, _of_request(context) | result)


class _Streams:
    """Counts what happens to streams, and records it on the spans of their open messages."""

    def __init__(self, meter: Meter, spans: _OpenSpans) -> None:
        self._spans = spans
        self._streams = meter.create_up_down_counter(
            "trio_mix.streams", "{stream}", "Streams that are open."
        )
        self._losses = meter.create_counter(
            "trio_mix.stream.losses", "{connection}", "Connections of streams that were lost."
        )
        self._reconnects = meter.create_counter(
            "trio_mix.stream.reconnects", "{connection}", "Connections made after a loss."
        )

    def opened(self, context: StreamOpenedContext) -> None:
        if context.connection == 1:
            context.state[self] = True
            self._streams.add(1)
        else:
            self._reconnects.add(1)
            self._spans.record(
                context, "stream.opened", {"trio_mix.connection": context.connection}
            )

    def lost(self, context: StreamLostContext) -> None:
        planned: Attributes = {"trio_mix.planned": context.planned}
        self._losses.add(1, planned)
        self._spans.record(context, "stream.lost", {"trio_mix.reason": context.reason, **planned})

    def retrying(self, context: StreamRetryingContext) -> None:
        self._spans.record(
            context,
            "stream.retrying",
            {
                "trio_mix.attempt": context.attempt,
                "trio_mix.delay": context.delay,
                "trio_mix.reason": context.reason,
            },
        )

    def closed(self, context: StreamClosedContext) -> None:
        if context.state.pop(self, False):
            self._streams.add(-1)
        self._spans.record(
            context, "stream.closed", {} if context.error is None else _of_error(context.error)
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

    def started(self, context: MessageStartedContext) -> None:
        attributes: Attributes = {**_AGENT, "gen_ai.conversation.id": context.session_id}
        if context.plan_mode:
            attributes["trio_mix.plan_mode"] = True
        if self._capture_content:
            attributes["gen_ai.input.messages"] = _message_json("user", context.text)
        before = otel_context.get_current()
        span = self._tracer.start_span(
            "invoke_agent", context=before, kind=SpanKind.CLIENT, attributes=attributes
        )
        context.state[self] = span, before
        self._spans.add(context.stream_state, span)
        otel_context.attach(trace.set_span_in_context(span))

    def finished(self, context: MessageFinishedContext) -> None:
        span, before = cast("tuple[Span, otel_context.Context]", context.state[self])
        self._spans.remove(context.stream_state, span)
        if trace.get_current_span() is span:  # else another task leaves the scope
            otel_context.attach(before)
        outcome: Attributes = {"trio_mix.outcome": context.outcome}
        failure = context.error if context.outcome in ("failed", "rejected") else None
        error = {} if failure is None else _of_error(failure)
        span.set_attributes(outcome | error | self._of_reply(context))
        if failure is None:
            span.end()
        else:
            _end_failed(span, failure if self._capture_content else None)
        self._messages.add(1, outcome)
        self._duration.record(context.elapsed, _AGENT | error)
        if context.first_event is not None:
            self._first_event.record(context.first_event, _AGENT)

    def _of_reply(self, context: MessageFinishedContext) -> Attributes:
        found: Attributes = {}
        if context.waited is not None:
            found["trio_mix.waited"] = context.waited
        if context.first_event is not None:
            found["gen_ai.response.time_to_first_chunk"] = context.first_event
        if context.reply is None:
            return found
        found["trio_mix.recovered"] = context.recovered
        found["trio_mix.resent"] = context.resent
        found["trio_mix.tool_calls"] = len(context.reply.tool_calls)
        if context.reply.message_id is not None:
            found["gen_ai.response.id"] = context.reply.message_id
        if self._capture_content and context.reply.text:
            found["gen_ai.output.messages"] = _message_json("assistant", context.reply.text)
        return found


def _of_request(context: RequestContext) -> Attributes:
    """Return the attributes of both spans and metrics of a request, of low cardinality."""
    server = urlsplit(context.url)
    return {
        "http.request.method": context.method,
        "server.address": server.hostname or "",
        "server.port": server.port or (443 if server.scheme == "https" else 80),
        "trio_mix.operation": context.operation,
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


def _message_json(role: str, text: str) -> str:
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
