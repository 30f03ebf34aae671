"""What somebody reads when a session is gone, nobody answers, or the server stays away.

Rules:

1. A session that was there is not told of as one that was never created.
2. A message that was under way says what can be known of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest
import trio

from trio_mix import Mix, errors
from trio_mix.testing import MessageRun, MixServer, Pause, Say, Turn

if TYPE_CHECKING:
    from trio.testing import MockClock


GONE = "does not know the session any more: it was deleted, or the server was restarted"


@pytest.mark.parametrize("says", ["stream", "404"])
async def test_a_session_that_is_gone_is_not_told_of_as_one_that_never_was(
    says: Literal["stream", "404"], autojump_clock: MockClock
) -> None:
    async with (
        MixServer("async", unknown_session=says, listen=False, pace=0.0) as server,
        Mix(server.url, network=server.network) as mix,
    ):
        session = server.create_session()
        async with mix.open_stream(session) as stream:
            await stream.ask("hello")
            await server.restart(keep_sessions=False)
            with pytest.raises(errors.SessionNotFound, match=GONE) as caught:
                await stream.ask("go")
            text = str(caught.value)
            assert "Open a new one" in text
            assert "Create the session first" not in text
            assert "message" not in text.split("restarted")[1]
        with pytest.raises(errors.SessionNotFound, match="Create the session first") as never:
            async with mix.open_stream(session):
                pass
        assert "any more" not in str(never.value)


async def test_a_message_whose_session_is_gone_says_that_its_fate_cannot_be_known(
    autojump_clock: MockClock,
) -> None:
    async with (
        MixServer("async", listen=False, pace=0.0) as server,
        Mix(server.url, network=server.network) as mix,
        trio.open_nursery() as nursery,
    ):
        server.script("go", Turn(Say("It began"), Pause(60)))
        session = server.create_session()
        async with mix.open_stream(session) as stream:

            async def restart() -> None:
                await server.wait_for(MessageRun)
                await server.restart(keep_sessions=False)

            nursery.start_soon(restart)
            with pytest.raises(errors.SessionNotFound, match=GONE) as caught:
                await stream.ask("go")
            assert "message had been sent: what became of it cannot be known" in str(caught.value)
            with pytest.raises(errors.SessionNotFound, match=GONE) as later:
                await stream.wait_connected()
            assert "message had been sent" not in str(later.value)
