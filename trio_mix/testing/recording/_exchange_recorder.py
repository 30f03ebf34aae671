"""Records one exchange, with its secrets masked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trio_mix.testing.recording._format import body_fields, chunk_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from trio_mix.testing.net._http1 import ReceivedRequest
    from trio_mix.testing.recording._format import End, RecordingWriter
    from trio_mix.testing.recording._masking import Masker

MAX_HELD: Final = 16 * 2**20
HOPS: Final = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer"}
    | {"transfer-encoding", "upgrade", "expect", "accept-encoding", "content-length", "host"}
)


class ExchangeRecorder:
    """Records one exchange."""

    def __init__(
        self,
        writer: RecordingWriter,
        now: Callable[[], tuple[int, float]],
        masker: Masker,
        number: int,
        request: ReceivedRequest,
    ) -> None:
        self._writer = writer
        self._now = now
        self._masker = masker
        self._number = number
        self._login = "/auth" in request.path
        self.whole = False
        self._text = True
        self._held: list[tuple[int, float, bytes]] = []
        self._held_size = 0
        self._cut = False
        no, at = now()
        (body,) = masker.pieces([request.body], login=self._login)
        target = masker.target(request.target, login=self._login)
        writer.write(
            no,
            at,
            number,
            request=f"{request.method} {target}",
            headers=self._headers(request.headers),
            **body_fields(body),
        )

    def start(self, status: int, pairs: Iterable[tuple[str, str]]) -> None:
        """Record the head of the response."""
        headers: dict[str, str] = {}
        for name, value in pairs:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        kind = headers.get("content-type", "")
        self._text = not kind or kind.startswith(("text/", "application/json"))
        no, at = self._now()
        self._writer.write(no, at, self._number, answer=status, headers=self._headers(headers))

    def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        ours = {name: value for name, value in headers.items() if name not in HOPS}
        return self._masker.headers(ours)

    def chunk(self, data: bytes) -> None:
        """Record a piece of the response body."""
        if self._cut:
            return
        no, at = self._now()
        end = data.rfind(b"\n") + 1 if self._text else len(data)
        if end:
            self._held.append((no, at, data[:end]))
            self._write_held()
        if data[end:]:
            self._held.append((no, at, data[end:]))
            self._held_size += len(data) - end
        if self._held_size > MAX_HELD:
            # Half a line cannot be written: it could end in half a secret.
            self._held, self._cut = [], True

    def end(self, how: End) -> None:
        """Record the end of the response."""
        self._write_held()
        no, at = self._now()
        if self._cut:
            how = "cut"
        elif self.whole:
            how = "complete"
        self._writer.write(no, at, self._number, end=how)

    def _write_held(self) -> None:
        held, self._held, self._held_size = self._held, [], 0
        pieces = [data for _, _, data in held]
        if self._text:
            pieces = self._masker.pieces(pieces, login=self._login)
        for (no, at, _), data in zip(held, pieces, strict=True):
            if data:
                self._writer.write(no, at, self._number, **chunk_fields(data))
