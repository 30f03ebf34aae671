"""Operations for a long run that go through every way in and out, beside the messages of a stream.

Each operation either succeeds, or fails with an error of trio_mix; anything else ends the run.
"""

from __future__ import annotations

import contextlib
import copy
import gzip
import json
import pickle
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from trio_mix import Mix, RequestOptions, RetryConfig, errors
from trio_mix.cli.ui._transcript import PlainLines, Transcript
from trio_mix.events import ContentEvent
from trio_mix.sse import open_event_source

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from trio_mix.testing import MixServer

_PATH = "/api/messages/history"  # no session stream reads it
_ROW = {"id": "m", "sessionId": "s", "role": "user", "userInput": "some words"}
_ROWS = json.dumps([_ROW] * 10_000).encode()
_ODD = [b'{"id": 1}', b'{"id": NaN}', b'{"id": "\\ud800"}', b"[" * 900 + b"]" * 900, b"x"]
_ONCE = RetryConfig(strategy="none")


class Mixture:
    """Makes random operations until it is cancelled.

    Attributes:
      done: how often each operation succeeded.
      failed: how often each failed with an error of trio_mix.
      turn: held while an operation is made; another task that holds it pauses the operations.
    """

    def __init__(self, server: MixServer, url: str, rng: random.Random) -> None:
        self.done: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.turn = trio.Lock()
        self._server = server
        self._url = url
        self._rng = rng
        self._session = server.create_session()
        self._uploads = 0
        self._operations: list[Callable[[Mix], Awaitable[None]]] = [
            self.large_list,
            self.compressed_list,
            self.odd_list,
            self.redirect,
            self.upload_and_download,
            self.progress_that_raises,
            self.file_beyond_its_limit,
            self.endless_body,
            self.events_of_one_connection,
            self.event_source,
            self.session_that_is_left,
            self.message_that_is_cancelled,
            self.long_text_shown,
        ]

    @property
    def made(self) -> int:
        """How many operations have ended."""
        return self.done.total() + self.failed.total()

    async def run(self) -> None:
        """Make operations on clients that live for a while."""
        while True:
            async with Mix(self._url, timeout=10.0, retries=_ONCE) as mix:
                for _ in range(20):
                    operation = self._rng.choice(self._operations)
                    async with self.turn:
                        await self._try(operation, mix)

    async def _try(self, operation: Callable[[Mix], Awaitable[None]], mix: Mix) -> None:
        name = operation.__name__
        limit = self._rng.choice([0.01, 0.1, 30.0, 30.0])
        try:
            with trio.move_on_after(limit) as scope:
                await operation(mix)
            self.done[name if not scope.cancelled_caught else f"{name}, cancelled"] += 1
        except errors.TrioMixError as error:
            self.failed[name] += 1
            for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
                if (type(copied), str(copied)) != (type(error), str(error)):
                    raise AssertionError(f"a copy of {error!r} differs") from error
        finally:
            self._server._backend.canned.clear()

    def _answer(
        self, body: bytes, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        self._server.answer_next(_PATH, status, headers=headers, body=body)

    async def large_list(self, mix: Mix) -> None:
        self._answer(_ROWS)
        assert len(await mix.messages.get_history()) in (10_000, *range(100))

    async def compressed_list(self, mix: Mix) -> None:
        self._answer(gzip.compress(_ROWS), headers={"Content-Encoding": "gzip"})
        await mix.messages.get_history()

    async def odd_list(self, mix: Mix) -> None:
        good = json.dumps(_ROW).encode()
        odd = self._rng.choice(_ODD)
        self._answer(b"[%b, %b, %b]" % (good, odd, good))
        found: errors.ResponseValidationError | None = None
        try:
            await mix.messages.get_history()
        except errors.ResponseValidationError as error:
            found = error
        # Nothing is readable of an answer that was queued for the other mixture's request.
        assert found is None or len(found.items) in (0, 2)

    async def redirect(self, mix: Mix) -> None:
        self._answer(b"", 307, {"Location": f"{_PATH}?again=1"})
        await mix.messages.get_history()

    async def upload_and_download(self, mix: Mix) -> None:
        content = self._rng.randbytes(200_000)
        # Another name each time: an upload that was cancelled may reach the server later.
        self._uploads = (self._uploads + 1) % 10
        name = f"{self._uploads}.bin"
        await mix.files.upload(id=self._session, file=content, filename=name)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.bin"
            await mix.files.download(id=self._session, filename=name, to=path)
            assert await trio.Path(path).read_bytes() == content

    async def progress_that_raises(self, mix: Mix) -> None:
        def progress(done: int, total: int | None) -> None:
            del total
            if done > 100_000:
                raise ZeroDivisionError

        with contextlib.suppress(ZeroDivisionError):
            await mix.files.upload(
                id=self._session, file=b"x" * 400_000, filename="b.bin", progress=progress
            )

    async def file_beyond_its_limit(self, mix: Mix) -> None:
        options = RequestOptions(max_body_size=100_000)
        await mix.files.get(id=self._session, filename="1.bin", options=options)

    async def endless_body(self, mix: Mix) -> None:
        self._answer(b"[" + b"0," * 5_000_000)
        options = RequestOptions(max_body_size=1_000_000)
        await mix.messages.get_history(options=options)

    async def events_of_one_connection(self, mix: Mix) -> None:
        async with mix.streaming.stream_events(session_id=self._session) as events:
            await anext(events)

    async def event_source(self, mix: Mix) -> None:
        del mix
        url = f"{self._url}/stream?sessionId={self._session}"
        async with open_event_source(url, on_comment=lambda _: None) as source:
            await anext(source)

    async def session_that_is_left(self, mix: Mix) -> None:
        async with (
            mix.open_session(title="left", cleanup_timeout=1.0) as session,
            session.subscribe(),
        ):
            await session.ask("go on")

    async def message_that_is_cancelled(self, mix: Mix) -> None:
        async with (
            mix.open_session(title="cancelled", cleanup_timeout=1.0) as session,
            session.send("go away") as message,
        ):
            await anext(message)

    async def long_text_shown(self, mix: Mix) -> None:
        del mix
        transcript, lines = Transcript(), PlainLines()
        for _ in range(2000):
            lines.feed(transcript.feed(ContentEvent(content="some text ")))
        await trio.lowlevel.checkpoint()
