"""Put together the headers of a request for an event stream.

What it knows: what the HTML standard wants sent, and how an id gets into a header.
What it must never know: what the caller's headers mean.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from trio_mix._http import check_headers

__all__ = ["HeadersSource", "ask_headers", "request_headers"]

HeadersSource: TypeAlias = (
    Mapping[str, str] | Callable[[], Mapping[str, str] | Awaitable[Mapping[str, str]]] | None
)
"""Headers, or a function, async or not, that is asked for them at each connect."""

_STANDARD = {
    "accept": ("Accept", "text/event-stream"),
    "cache-control": ("Cache-Control", "no-cache"),
    "accept-encoding": ("Accept-Encoding", "identity"),
}
_MAX_ID = 4096


async def ask_headers(source: HeadersSource) -> dict[str, str]:
    """Return what the caller wants sent.

    Raises:
      ConfigurationError: a header cannot be sent.
    """
    headers = source() if callable(source) else source
    if inspect.isawaitable(headers):
        headers = await headers
    if headers is None:
        return {}  # noqa: ASYNC910 - the connect that they are for follows
    check_headers(headers)
    return dict(headers)  # noqa: ASYNC910 - as above


def request_headers(given: Mapping[str, str], last_event_id: str) -> dict[str, str]:
    """Return all headers to send: the caller's win over the standard ones."""
    fields = dict(_STANDARD)
    fields.update((name.lower(), (name, value)) for name, value in given.items())
    if last_event_id and _fits(last_event_id):
        # The standard wants UTF-8 in this one header; latin-1 carries its bytes unchanged.
        value = last_event_id.encode("utf-8", "replace").decode("latin-1")
        fields["last-event-id"] = ("Last-Event-ID", value)
    return dict(fields.values())


def _fits(event_id: str) -> bool:
    """Whether a server's id can be sent back: one that no header can carry is kept to oneself."""
    return len(event_id) <= _MAX_ID and all(c >= " " and c != "\x7f" for c in event_id)
