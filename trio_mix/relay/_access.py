"""Which verb a request needs, and which session it is about.

Rules (tests cite the numbers):

1. A path is decided by its decoded segments. One that a server could read as another path (empty
   or dot segments, encoded slashes, control characters) is refused with 400, so that the relay and
   the server decide about the same path.
2. A token is read from ``Authorization``, else from a cookie, else from ``?relay_token=``. None of
   them is passed on, nor are the relay's own parameters. For programs that take a URL only, the
   token may be the password of ``Basic``, as in ``http://:TOKEN@host``. The cookie is
   ``mix_relay_PORT``, or ``mix_relay``: a browser has the same cookies for all ports of a host.
3. A session that the token does not cover is a 404, as one that does not exist; a missing verb is
   a 403, a missing or invalid token a 401.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

import attrs

from trio_mix.relay._problem import Problem

if TYPE_CHECKING:
    from trio_mix.relay._exchange import RequestHead
    from trio_mix.relay._grants import Verb

COOKIE: Final = "mix_relay"
_TOKEN: Final = "relay_token"  # noqa: S105 - a parameter's name
_OWN: Final = frozenset({_TOKEN, "relay"})
_READABLE: Final = frozenset({"messages", "export", "files"})
_ANYONE: Final = (["health"], ["api", "system", "health"])


@attrs.frozen
class Access:
    """What a request needs."""

    verb: Verb | None
    """The verb; None: any valid token."""
    session_id: str | None = None
    """The session that the path names."""


def segments_of(path: str) -> list[str]:
    """Return the decoded segments of a path (rule 1).

    Raises:
      Problem: a server could read it as another path.
    """
    if not path.startswith("/"):
        raise Problem(400, "the target of a request must be a path")
    segments = [unquote(segment, errors="surrogateescape") for segment in path[1:].split("/")]
    for position, segment in enumerate(segments):
        last = position == len(segments) - 1
        if (not segment and not last) or segment in (".", ".."):
            raise Problem(400, "the path has an empty or a dot segment")
        if any(bad in "/\\" or bad < " " or bad == "\x7f" for bad in segment):
            raise Problem(400, "the path has an encoded slash or a control character")
        if any("\ud800" <= bad <= "\udfff" for bad in segment):
            raise Problem(400, "the path has encoded bytes that are not UTF-8")
    return segments


def access_of(method: str, segments: list[str]) -> Access:
    """Return what a request that is passed on needs.

    Args:
      method: its method.
      segments: the decoded segments of its path.
    """
    safe = method in ("GET", "HEAD")
    match segments:
        case _ if segments in _ANYONE and safe:
            return Access(None)
        case ["api", "sessions"] if safe:
            return Access("read")
        case ["api", "sessions", session_id, *rest] if session_id:
            if not rest or not rest[0]:
                return Access("read" if safe else "manage", session_id)
            if safe and rest[0] in _READABLE:
                return Access("read", session_id)
            if rest == ["messages"] and method == "POST":
                return Access("send", session_id)
            if rest == ["cancel"] and method == "POST":
                return Access("cancel", session_id)
            return Access("manage", session_id)
        case ["stream", session_id, "message"] if method == "POST":
            return Access("send", session_id)
        case ["api", "permissions" | "notifications", _, _] if method == "POST":
            return Access("decide")
        case _:
            return Access("manage")


def token_of(head: RequestHead) -> str | None:
    """Return the token of a request, None without one (rule 2).

    Raises:
      Problem: the query has two.
    """
    scheme, _, value = head.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    if scheme.lower() == "basic":
        return _password(value.strip())
    return cookie_token(head) or head.parameter(_TOKEN) or None


def cookie_name(head: RequestHead) -> str:
    """Return the name of the cookie for the relay that a request was sent to."""
    host = head.headers.get("host", "")
    port = host.rpartition(":")[2]
    return f"{COOKIE}_{port}" if ":" in host and port.isdecimal() else COOKIE


def cookie_token(head: RequestHead) -> str | None:
    """Return the token in a request's cookies, None without one."""
    cookies: dict[str, str] = {}
    for pair in head.headers.get("cookie", "").split(";"):
        name, _, value = pair.strip().partition("=")
        cookies.setdefault(name, value.strip('"'))
    return cookies.get(cookie_name(head)) or cookies.get(COOKIE) or None


def _password(credentials: str) -> str | None:
    """Return the password of ``Basic`` credentials, or the user name if there is none."""
    try:
        user, _, password = base64.b64decode(credentials, validate=True).decode().partition(":")
    except ValueError:
        return None
    return password or user or None


def upstream_target(head: RequestHead) -> str:
    """Return the path and query as they are passed on: without the relay's own parameters."""
    path, mark, query = head.target.partition("?")
    if not mark:
        return path
    kept = [
        pair
        for pair in query.split("&")
        if unquote(pair.partition("=")[0].replace("+", " ")) not in _OWN
    ]
    return path + ("?" + "&".join(kept) if kept else "")
