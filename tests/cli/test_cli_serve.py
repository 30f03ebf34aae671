"""``trio-mix serve --state``: the sessions of a server that is stopped and started again."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import trio

from trio_mix import Mix
from trio_mix.testing import MixServer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.command_line import RunCommand, StartCommand


async def address(process: trio.Process) -> str:
    assert process.stdout is not None
    printed = b""
    while b"\n" not in printed:
        printed += await process.stdout.receive_some()
    return printed.decode().split(" at ")[1].split(";")[0]


async def test_sessions_are_kept_over_a_restart(
    start_command: StartCommand, tmp_path: Path
) -> None:
    state = tmp_path / "state.jsonl"
    options = ["--state", str(state), "--pace", "0"]
    kept = ""
    for attempt in range(2):
        with trio.fail_after(60):
            async with start_command("serve", "--port", "0", *options) as process:
                async with Mix(await address(process)) as mix:
                    if attempt == 0:
                        kept = (await mix.sessions.create(title="Kept")).id
                        async with mix.open_stream(kept) as session:
                            await session.ask("Hello")
                    rows = await mix.messages.get_session(id=kept)
                    assert [row.role for row in rows] == ["user", "assistant"]
                process.send_signal(signal.SIGTERM)
                await process.wait()


async def test_a_file_that_cannot_be_used_is_named(run_command: RunCommand, tmp_path: Path) -> None:
    broken, missing = tmp_path / "broken", tmp_path / "none" / "file"
    broken.write_text("something else\n", encoding="utf-8")
    used = tmp_path / "used"
    async with MixServer(state=used, listen=False):
        for path, why in (
            (broken, "line 1: this is not the saved state of a server"),
            (missing, "No such file"),
            (used, "in use by another server"),
        ):
            done = await run_command("serve", "--port", "0", "--state", str(path))
            assert done.code != 0
            assert done.err.count("\n") == 1, done.err
            assert str(path) in done.err
            assert why in done.err
    assert broken.read_text(encoding="utf-8") == "something else\n"
