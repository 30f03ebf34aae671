"""What type checkers see: the functions keep the methods' keywords, values and errors.

Type checkers read this file; a wrong type, or an ignore that is not needed, is theirs to report.
The coroutines are never run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix import funcs, resources

if TYPE_CHECKING:
    from pathlib import Path
    from typing import assert_type

    from trio_mix._rest._core import MixCore
    from trio_mix.events import Event
    from trio_mix.models import BackendMessage, FileInfo, SendResult, SessionData
    from trio_mix.resources import EventStream

    async def methods(core: MixCore) -> None:
        sessions = resources.Sessions(core)
        assert_type(await sessions.list(), list[SessionData])
        assert_type(await sessions.create(title="t"), SessionData)
        assert_type(await sessions.delete(id="s"), None)
        assert_type(await resources.Messages(core).send(id="s", text="t"), SendResult)
        files = resources.Files(core)
        assert_type(await files.list(id="s"), list[FileInfo])
        assert_type(await files.get(id="s", filename="f"), bytes)
        assert_type(await files.download(id="s", filename="f", to="p"), Path)
        async with files.get(id="s", filename="f") as stream:
            async for piece in stream:
                assert_type(piece, bytes)
        async with resources.Streaming(core).stream_events(session_id="s") as events:
            async for event in events:
                assert_type(event, Event)
        await sessions.create(title="t", browser_mode="netscape")  # type: ignore[arg-type]
        await sessions.get("s")  # type: ignore[call-arg]
        await sessions.get()  # type: ignore[call-arg]

    async def functions(core: MixCore) -> None:
        listed = await funcs.sessions_list(core)
        assert_type(listed, funcs.Ok[list[SessionData]] | funcs.Err[funcs.OperationError])
        got = await funcs.sessions_get(core, id="s")
        match got:
            case funcs.Ok(value=session):
                assert_type(session, SessionData)
            case funcs.Err(error=error):
                assert_type(error, funcs.OperationError)
        messages = await funcs.messages_get_session(core, id="s")
        if isinstance(messages, funcs.Ok):
            assert_type(messages.value, list[BackendMessage])
        opened = await funcs.streaming_stream_events(core, session_id="s")
        assert_type(opened, funcs.Ok[EventStream] | funcs.Err[funcs.StreamOperationError])
        content = await funcs.files_get(core, id="s", filename="f")
        assert_type(content, funcs.Ok[bytes] | funcs.Err[funcs.OperationError])
        await funcs.messages_send(core, id="s", text="t", max_steps=3, thinking_level="off")
        await funcs.messages_send(core, id="s", txt="t")  # type: ignore[call-arg]
        await funcs.messages_send(core, id="s", text=5)  # type: ignore[arg-type]
        await funcs.sessions_get(core, "s")  # type: ignore[call-arg]


def test_the_functions_are_there_for_the_type_checkers_to_look_at() -> None:
    assert funcs.sessions_get.__name__ == "sessions_get"
    assert resources.Sessions.get.__doc__ is not None
