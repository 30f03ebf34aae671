"""The two forms of a response: with its body, or with the body still to be read."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, TypedDict, final

import attrs
import trio

from trio_mix._http._connection import ConnectionResponse
from trio_mix._http._cookies import MAX_COOKIES, set_cookie_values
from trio_mix._http._encoding import ContentDecoder, decoder_of, encoding_problem
from trio_mix._http._errors import is_a, library_errors, translate
from trio_mix._redact import Redactor
from trio_mix.errors import RequestTimeout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from trio_mix._http._protocols import RawResponse, RequestProgress, Secrets
    from trio_mix.errors import RequestInfo

ERROR_BODY_LIMIT = 64 * 1024
"""The largest part of the body of a failed request that is read, in bytes."""


@attrs.frozen(eq=False, repr=False)
class HttpResponse:
    """A response with its body."""

    status_code: int
    """The HTTP status."""
    headers: Mapping[str, str] = attrs.field(repr=False)
    """The headers, names in lower case, values of the same name joined with a comma."""
    body: bytes = attrs.field(repr=False)
    """The body, cut at the limit of the request."""
    truncated: bool
    """Whether the body was longer than the limit."""
    url: str
    """The URL of the response after redirects, without user name and password."""
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)
    """The credentials that were sent in addition to the headers of the request."""
    remedy: str = ""
    """Why a redirect was not followed, or which proxy was used, and what to do; often empty."""
    encoding_problem: str = ""
    """Why the body could not be decoded; empty if it could."""


class ShownResponse(TypedDict):
    """The arguments of a `MixError` that are those of a response."""

    status_code: int
    headers: Mapping[str, str]
    body: str
    request: RequestInfo


@attrs.frozen(eq=False, repr=False)
class ReceivedResponse:
    """A response to one request, with what is needed to show it in an error."""

    status_code: int
    """The HTTP status."""
    headers: Mapping[str, str] = attrs.field(repr=False)
    """The headers, names in lower case."""
    body: bytes = attrs.field(repr=False)
    """The body, possibly cut."""
    truncated: bool
    """Whether the body is cut."""
    request: RequestInfo
    """The request."""
    secrets: Secrets = attrs.field(repr=False)
    """Returns the secrets of the request."""
    remedy: str = ""
    """What to do, where it is known: for a redirect that was not followed, and for a proxy."""
    encoding_problem: str = ""
    """Why the body could not be decoded; empty if it could."""

    @property
    def redactor(self) -> Redactor:
        """Masks the secrets of the request."""
        return Redactor(self.secrets)

    @property
    def shown_headers(self) -> dict[str, str]:
        """The headers with all secrets masked."""
        return self.redactor.headers(self.headers)

    def shown(self) -> ShownResponse:
        """Return what an exception holds of the response, with all secrets masked."""
        return {
            "status_code": self.status_code,
            "headers": self.shown_headers,
            "body": self.text,
            "request": self.request,
        }

    @property
    def text(self) -> str:
        """The beginning of the body as text, with all secrets masked."""
        if self.encoding_problem:
            return f"({self.encoding_problem})"
        cut = self.truncated or len(self.body) > ERROR_BODY_LIMIT
        shown = self.body[:ERROR_BODY_LIMIT].decode(errors="replace")
        return self.redactor.text(shown, truncated=cut)


@final
class ResponseStream:
    """A response whose body is read as it arrives. `Http.open` returns it.

    Attributes:
      status_code: the HTTP status.
      headers: the response's headers, names in lower case.
      url: the URL of the response after redirects, without user name and password.
      set_cookies: the values of the ``Set-Cookie`` headers, the last ones of very many.
      secrets: the credentials that were sent in addition to the headers of the request, and those
        in new cookies.
      encoding_problem: why the body cannot be decoded; empty if it can be.
      remedy: why this redirect was not followed, or which proxy was used, and what to do; often
        empty.
      owns_connection: whether `aclose` ends a read that is in progress in another task; a caller's
        client is not safe for that.
    """

    def __init__(self, raw: RawResponse, progress: RequestProgress, *, traced: bool) -> None:
        self.status_code: int = raw.status_code
        self.headers: Mapping[str, str] = raw.headers
        self.encoding_problem: str = ""
        self._decoder: ContentDecoder | None = None
        if "content-encoding" in self.headers:
            self._decode(self.headers["content-encoding"])
        self.url: str = progress.info.url
        self.set_cookies: Sequence[str] = raw.set_cookies[-MAX_COOKIES:]
        if self.set_cookies:
            progress.added += set_cookie_values(self.set_cookies)
            if len(self.set_cookies) < len(raw.set_cookies):
                self.headers = {**self.headers, "set-cookie": ", ".join(self.set_cookies)}
        self.secrets: tuple[str, ...] = progress.added
        self.remedy: str = ""
        self.owns_connection: bool = isinstance(raw, ConnectionResponse)
        self._raw = raw
        self._progress = progress
        self._traced = traced
        self._closed = False

    async def receive(self, timeout: float | None = None) -> bytes:
        """Read the next bytes of the body.

        A body that is compressed with gzip or deflate is decompressed. A read that is cancelled or
        times out loses no bytes on a connection of this package. On a caller's client it breaks the
        stream, and the next read raises `ConnectionFailed`.

        Args:
          timeout: seconds to wait for bytes, `None` for no limit.

        Returns:
          At least one byte, or ``b""`` at the end of a complete body.

        Raises:
          ConnectionFailed: the connection broke, or was closed before the end of the body; or the
            compressed content is invalid.
          RequestTimeout: no byte arrived in time.
        """
        try:
            if self._decoder is not None:
                return await self._receive_decoded(self._decoder, timeout)
            return await self._raw.receive(timeout)
        except library_errors() as error:
            if timeout is not None and (
                isinstance(error, TimeoutError) or is_a(error, "ReadTimeout")
            ):
                raise RequestTimeout(
                    f"no byte arrived for {timeout:g} s",
                    request=self._progress.info,
                    sent=True,
                    proxy=self._progress.proxy,
                ) from None
            self._progress.stage = "reading the body"
            raise translate(error, self._progress, traced=self._traced) from error

    async def _receive_decoded(self, decoder: ContentDecoder, timeout: float | None) -> bytes:
        if decoder.pending:
            await trio.lowlevel.checkpoint()
        data = b""
        while decoder.pending or (data := await self._raw.receive(timeout)):
            if piece := decoder.feed(data):
                return piece  # noqa: ASYNC910 - either of both above is one
            data = b""
        decoder.finish()
        return b""  # noqa: ASYNC910 - receiving was one

    def _decode(self, content_encoding: str) -> None:
        decoder = decoder_of(content_encoding)
        if isinstance(decoder, str):
            self.encoding_problem = encoding_problem(decoder)
            return
        # What is returned is neither encoded nor of that length.
        dropped = ("content-encoding", "content-length")
        self.headers = {k: v for k, v in self.headers.items() if k not in dropped}
        self._decoder = decoder

    async def read_all(self, limit: float) -> tuple[bytes, bool]:
        """Read the rest of the body, up to a limit.

        Args:
          limit: the largest number of bytes to return, ``math.inf`` for all.

        Returns:
          The bytes, and whether there were more.

        Raises:
          ConnectionFailed: the connection broke, or was closed before the end of the body.
        """
        # Not a list of pieces, for each could be a single byte; `io.BytesIO` copies nothing at the
        # end.
        body = io.BytesIO()
        while piece := await self.receive():
            if body.tell() + len(piece) > limit:
                body.write(piece[: int(limit) - body.tell()])
                return body.getvalue(), True
            body.write(piece)
        return body.getvalue(), False

    async def aclose(self) -> None:
        """Close the stream. Idempotent, shielded from cancellation, and bounded in time.

        It never raises, not even `trio.Cancelled`, so it may be awaited in a ``finally``.
        """
        if not self._closed:
            self._closed = True
            await self._raw.aclose()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def release(self) -> None:  # noqa: ASYNC910 - follows the request, which is a checkpoint
        """Return the connection to the pool if the body was read to its end, else close it."""
        if not self._closed:
            self._closed = True
            await self._raw.release()


def received(
    response: HttpResponse | ResponseStream,
    body: bytes,
    request: RequestInfo,
    secrets: Secrets,
    *,
    truncated: bool,
) -> ReceivedResponse:
    """Return a response with what is needed to show it in an error.

    Args:
      response: the response.
      body: the part of its body that was read.
      request: the request.
      secrets: returns the secrets that the caller knows of.
      truncated: whether the body is longer.
    """
    added, remedy = response.secrets, response.remedy
    problem = response.encoding_problem

    def all_secrets() -> Iterable[str]:
        return (*secrets(), *added)

    return ReceivedResponse(
        response.status_code,
        response.headers,
        body,
        truncated,
        request,
        all_secrets,
        remedy and Redactor(all_secrets).text(remedy),
        problem and Redactor(all_secrets).text(problem),
    )
