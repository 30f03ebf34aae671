"""``api``: makes any request of the API by hand.

Rules:

1. No secret is accepted in an argument: a body that has one is read from stdin.
2. Output is JSON, formatted, or text, with hidden characters as escapes or removed; anything else
   is written as it is, but not to a terminal.
"""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_mix._json import NotJSON, parse
from trio_mix._terminal_text import clean, escape_json
from trio_mix.cli._client import json_of, open_client
from trio_mix.cli._errors import OK, CommandUsageError
from trio_mix.cli._run import end_with_reader
from trio_mix.cli._streams import MAX_INPUT, detect_encoding
from trio_mix.cli.ui._json import print_json, to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix import Mix, Response
    from trio_mix.cli._client import Connection

_PAGE: Final = 100
_STDIN: Final = "-"
_SECRET_NAME: Final = re.compile(r"(?:api_?-?key|token|secret|password)$", re.IGNORECASE)
_SECRET_MEMBER: Final = re.compile(rf'{_SECRET_NAME.pattern[:-1]}"\s*:', re.IGNORECASE)
_IN_AN_ARGUMENT: Final = (
    "it may be a secret, and other users of this machine can see arguments: pass the body with "
    "`--data -` and stdin"
)


@attrs.frozen(kw_only=True)
class ApiRequest:
    """The request of ``api``."""

    method: str
    path: str
    params: Sequence[str] = ()
    fields: Sequence[str] = ()
    data: str | None = None
    paginate: bool = False
    include: bool = False


async def api(server: Connection, request: ApiRequest) -> int:
    """Make the request and print the body of the response.

    Raises:
      CommandUsageError: an argument is invalid.
      TrioMixError: the server refused the request or did not respond.
    """
    params = dict(_pair("--param", each) for each in request.params)
    body = await _body(request)
    if request.paginate and (request.method.upper() != "GET" or body is not None):
        raise CommandUsageError("--paginate works with GET only")
    path = request.path
    if not path.startswith("/") and "://" not in path.partition("?")[0]:
        path = f"/{path}"
    async with open_client(server) as mix, trio.open_nursery() as nursery:
        nursery.start_soon(end_with_reader)
        if request.paginate:
            await _pages(mix, path, params)
        else:
            answer = await mix.request(request.method, path, json=body, params=params)
            if request.include:
                _print_head(answer)
            await _print_body(answer.body, answer.headers.get("content-type", ""))
        nursery.cancel_scope.cancel(reason="the response was printed")
    return OK


async def _body(request: ApiRequest) -> object:
    await trio.lowlevel.checkpoint()
    if request.data is None:
        if not request.fields:
            return None
        return {name: _value(text) for name, text in map(_field, request.fields)}
    if request.fields:
        raise CommandUsageError("--data and --field both make the body: use one of them")
    text = request.data
    if text == _STDIN:
        text = await trio.to_thread.run_sync(_read_stdin, abandon_on_cancel=True)
    elif _SECRET_MEMBER.search(text):
        raise CommandUsageError(f"--data: {_IN_AN_ARGUMENT}")
    try:
        return parse(text)
    except NotJSON as error:
        raise CommandUsageError(f"--data: not valid JSON: {error}") from None


def _read_stdin() -> str:
    detect_encoding(sys.stdin)
    return sys.stdin.read(MAX_INPUT + 1)


def _field(text: str) -> tuple[str, str]:
    return _pair("--field", text)


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if equals and _SECRET_NAME.search(name):
        raise CommandUsageError(f"{option} {name}: {_IN_AN_ARGUMENT}")
    if not equals or not name:
        raise CommandUsageError(f"{option}: write it as NAME=VALUE")
    return name, value


def _value(text: str) -> object:
    """Return the value of a JSON text, and any other text as it is."""
    try:
        return parse(text)
    except NotJSON:
        return text


async def _pages(mix: Mix, path: str, params: dict[str, str]) -> None:
    """Print the rows of all pages, one per line."""
    limit, offset = (_number(params, *each) for each in (("limit", _PAGE), ("offset", 0)))
    before: object = None
    while True:
        page = {**params, "limit": str(limit), "offset": str(offset)}
        rows = json_of(await mix.request("GET", path, params=page), path)
        if not isinstance(rows, list):
            raise CommandUsageError(f"--paginate: {path} does not return a list")
        if rows and rows == before:
            raise CommandUsageError(f"--paginate: {path} returns the same rows for each offset")
        before = rows
        for row in rows:
            print_json(to_json(row))
            await trio.lowlevel.checkpoint()
        if len(rows) < limit:
            return
        offset += len(rows)


def _number(params: dict[str, str], name: str, default: int) -> int:
    try:
        return int(params.get(name, default))
    except ValueError:
        raise CommandUsageError(f"--param {name}: it must be a number") from None


def _print_head(answer: Response) -> None:
    print(f"HTTP {answer.status}", file=sys.stderr)
    for name, value in answer.headers.items():
        print(f"{clean(name)}: {clean(value)}", file=sys.stderr)
    print(file=sys.stderr, flush=True)


async def _print_body(body: bytes, kind: str) -> None:
    """Print a body: JSON formatted, text without hidden characters, anything else as it is."""
    await trio.lowlevel.checkpoint()
    if not body:
        return
    if "json" in kind:
        print_json(await trio.to_thread.run_sync(_formatted, body))
    elif kind.startswith("text/"):
        print(clean(body.decode("utf-8", "replace")), flush=True)
    elif sys.stdout.isatty():
        raise CommandUsageError(f"the response is no text ({clean(kind)}): write it to a file")
    else:
        sys.stdout.flush()
        sys.stdout.buffer.write(body)
        sys.stdout.buffer.flush()


def _formatted(body: bytes) -> str:
    try:
        return escape_json(json.dumps(parse(body), ensure_ascii=False, indent=2))
    except NotJSON:
        return clean(body.decode("utf-8", "replace"))
