"""Serves the web page of a relay, and lets a browser sign in with a cookie.

Rules (tests cite the numbers):

1. The page is static files: it has no secret, and is served without a token.
2. The browser runs no script and no style but these files, connects to the relay only, and shows
   the page in no frame of another page.
3. A token becomes a cookie that no script can read and no other site sends: ``HttpOnly`` and
   ``SameSite=Strict``. `OriginGuard` refuses what a page of another origin does with it.
"""

from __future__ import annotations

import hashlib
import re
import time
from importlib.resources import files
from typing import TYPE_CHECKING, Final, final

import msgspec

from trio_mix.relay._access import cookie_name
from trio_mix.relay._guard import check_json
from trio_mix.relay._problem import Problem

if TYPE_CHECKING:
    from trio_mix.relay._exchange import Exchange
    from trio_mix.relay._grants import Auth

PAGE_PATH: Final = "/relay/page/"
_INDEX: Final = "index.html"
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS: Final = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-cache"),  # revalidated with the ETag
)
_COOKIE: Final = "Path=/; HttpOnly; SameSite=Strict"
_LONGEST_TOKEN: Final = 8192
_COOKIE_VALUE: Final = re.compile(r"[!#-+\--:<-\[\]-~]+")


class _SignIn(msgspec.Struct):
    token: str


@final
class Page:
    """The files of the page, in memory.

    Args:
      auth: who may use the relay; None: everybody, without a cookie.
    """

    def __init__(self, auth: Auth | None) -> None:
        self._auth = auth
        self._files: dict[str, tuple[bytes, str, str]] = {}
        for file in files("trio_mix.relay").joinpath("page").iterdir():
            kind = _TYPES.get("." + file.name.rpartition(".")[2])
            if kind is not None:
                data = file.read_bytes()
                tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
                self._files[file.name] = (data, kind, tag)

    @property
    def names(self) -> list[str]:
        """The names of the files."""
        return sorted(self._files)

    async def respond(self, exchange: Exchange, path: list[str]) -> None:
        """Answer a request below ``/relay/page``.

        Raises:
          Problem: there is no such file or method; the token is malformed.
          Unauthorized: the token is not valid.
        """
        match exchange.head.method, path:
            case "GET" | "HEAD", []:
                await exchange.respond(308, headers=[("Location", PAGE_PATH)])
            case "GET" | "HEAD", [name] if (name or _INDEX) in self._files:
                await self._send(exchange, *self._files[name or _INDEX])
            case "POST", ["cookie"]:
                await self._sign_in(exchange)
            case "DELETE", ["cookie"]:
                gone = f"{cookie_name(exchange.head)}=; {_COOKIE}; Max-Age=0"
                await exchange.respond(204, headers=[("Set-Cookie", gone)])
            case _:
                raise Problem(404, "the page has no such file or method")

    async def _send(self, exchange: Exchange, data: bytes, kind: str, tag: str) -> None:
        headers = [*_HEADERS, ("ETag", tag)]
        known = exchange.head.headers.get("if-none-match", "")
        if tag in (each.strip().removeprefix("W/") for each in known.split(",")):
            await exchange.respond(304, headers=headers)
        else:
            await exchange.respond(200, data, kind, headers)

    async def _sign_in(self, exchange: Exchange) -> None:
        """Check a token and make it a cookie (rule 3)."""
        head = exchange.head
        check_json(head.headers)
        body = await exchange.read_body(_LONGEST_TOKEN + 100)
        try:
            token = msgspec.json.decode(body, type=_SignIn).token
        except (ValueError, RecursionError):
            raise Problem(400, 'the body must be {"token": "..."}') from None
        headers = [("Cache-Control", "no-store")]
        if self._auth is not None:
            grant = self._auth.check(token)
            if not _COOKIE_VALUE.fullmatch(token):
                raise Problem(400, "the token has characters that a cookie cannot have")
            cookie = f"{cookie_name(head)}={token}; {_COOKIE}"
            if grant.expires_at is not None:
                cookie += f"; Max-Age={max(0, int(grant.expires_at - time.time()))}"
            if head.headers.get("origin", "").startswith("https:"):
                cookie += "; Secure"
            headers.append(("Set-Cookie", cookie))
        await exchange.respond(204, headers=headers)
