"""examples/guest_mode.py: the bridge under asyncio.run, its program, and its notebook."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import warnings
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from examples.guest_mode import Guest
from tests.support.example_programs import ROOT, run_program
from trio_mix import Mix, SessionStream
from trio_mix.errors import AgentError, SessionNotFound
from trio_mix.testing import Fail, Hang, MessageFinished, MessageRun, MixServer, Say, Turn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

PATIENCE = 30


def in_asyncio(main: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine as asyncio programs do; it must leave no task behind."""

    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            await main
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(bounded(), debug=True)


@asynccontextmanager
async def world() -> AsyncIterator[tuple[Guest, MixServer, SessionStream]]:
    async with Guest() as guest, AsyncExitStack() as stack:
        server = await stack.enter_async_context(guest.enter(MixServer(pace=0)))
        mix = await stack.enter_async_context(guest.enter(Mix(server.url)))
        stream = await stack.enter_async_context(guest.enter(mix.open_session()))
        yield guest, server, stream


def test_a_reply_is_awaited_and_two_are_gathered() -> None:
    async def main() -> None:
        async with world() as (guest, server, stream):
            server.script("A", Turn(Say("a")))
            server.script("B", Turn(Say("b")))
            assert (await guest.run(stream.ask, "A")).text == "a"
            both = await asyncio.gather(
                guest.run(stream.ask, "A"), guest.run(stream.ask, "B", plan_mode=False)
            )
            assert [reply.text for reply in both] == ["a", "b"]

    in_asyncio(main())


def test_an_error_comes_out_unchanged() -> None:
    async def main() -> None:
        async with world() as (guest, server, stream):
            server.script("A", Turn(Fail("no luck")))
            with pytest.raises(AgentError, match="no luck"):
                await guest.run(stream.ask, "A")

    in_asyncio(main())


def test_a_cancelled_await_returns_when_the_turn_is_cancelled_on_the_server() -> None:
    async def main() -> None:
        async with world() as (guest, server, stream):
            server.script("A", Turn(Say("so far"), Hang()))
            asking = asyncio.create_task(guest.run(stream.ask, "A"))
            await guest.run(server.wait_for, MessageRun)
            asking.cancel()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            ended = [record for record in server.log if isinstance(record, MessageFinished)]
            assert [record.how for record in ended] == ["cancelled"]
            assert server.running_turns == 0

    in_asyncio(main())


def test_a_timeout_of_asyncios_cancels_too() -> None:
    async def main() -> None:
        async with world() as (guest, server, stream):
            server.script("A", Turn(Hang()))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(None) as limit:
                    asking = asyncio.create_task(guest.run(server.wait_for, MessageRun))
                    asking.add_done_callback(lambda _: limit.reschedule(0))
                    await guest.run(stream.ask, "A")
            assert server.running_turns == 0

    in_asyncio(main())


def test_a_failed_entry_raises_the_reason_and_the_guest_continues() -> None:
    async def main() -> None:
        async with world() as (guest, server, stream), AsyncExitStack() as stack:
            mix = await stack.enter_async_context(guest.enter(Mix(server.url)))
            with pytest.raises(SessionNotFound):
                async with guest.enter(mix.open_stream("nowhere")):
                    pass
            assert (await guest.run(stream.ask, "Hello")).text

    in_asyncio(main())


def test_entering_can_be_cancelled() -> None:
    async def main() -> None:
        async with Guest() as guest:

            @asynccontextmanager
            async def never() -> AsyncIterator[None]:
                inside.set()
                await trio.Event().wait()
                yield

            async def enter() -> None:
                async with guest.enter(never()):
                    pass

            inside = asyncio.Event()
            entering = asyncio.create_task(enter())
            await inside.wait()
            entering.cancel()
            with pytest.raises(asyncio.CancelledError):
                await entering

    in_asyncio(main())


def test_leaving_the_guest_ends_running_calls() -> None:
    async def main() -> None:
        async with Guest() as guest:
            sleeping = asyncio.create_task(guest.run(trio.sleep_forever))
            await guest.run(trio.testing.wait_all_tasks_blocked)
        with pytest.raises(asyncio.CancelledError):
            await sleeping

    in_asyncio(main())


def test_the_notebooks_cells_run_one_by_one_in_one_loop(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MIX_SERVER_URL", raising=False)
    monkeypatch.syspath_prepend(ROOT / "examples")
    notebook = json.loads((ROOT / "examples/guest_notebook.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]

    async def host() -> None:
        names: dict[str, Any] = {}
        for number, cell in enumerate(cells):
            code = compile(cell, f"cell {number}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            # Each in a task of its own, as notebooks do.
            result = eval(code, names)  # noqa: S307 - the project's own notebook
            if inspect.iscoroutine(result):
                await asyncio.create_task(result)
        assert names["later"].cancelled()
        assert [call.name for call in names["reply"].tool_calls] == ["Glob"]

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        in_asyncio(host())
    assert "I found 5 files" in capsys.readouterr().out


async def test_the_program_runs() -> None:
    async with run_program("examples/guest_mode.py", "--demo", new_interpreter=True) as program:
        assert await program.ended() == 0
    lines = program.output.splitlines()
    assert lines[0].startswith("Hello!")
    assert "I found 5 files" in lines[1]
    assert lines[2].startswith("['Certainly.', 'Hello!")
    assert lines[3:] == ["It took too long, and was cancelled."]


async def test_a_missing_server_is_reported_without_a_traceback() -> None:
    async with run_program("examples/guest_mode.py", server="http://127.0.0.1:9") as program:
        assert await program.ended() == 1
    assert "Traceback" not in program.output
