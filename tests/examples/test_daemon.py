"""examples/daemon as a process: its jobs, its signals, its health endpoint, systemd."""

from __future__ import annotations

import re
import signal
import socket
from typing import TYPE_CHECKING

import pytest
import trio

from examples.daemon.trouble import Trouble
from tests.support.daemon_kit import Folder
from tests.support.example_programs import run_program
from trio_mix import Mix
from trio_mix.testing import (
    Api,
    Fail,
    Hang,
    MessageRun,
    MixServer,
    Say,
    StreamOpened,
    Turn,
    WaitFor,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


@pytest.mark.parametrize("api", ["async", "blocking", "pipeline"])
async def test_jobs_become_answers_each_in_a_session_of_its_own(folder: Folder, api: Api) -> None:
    folder.put(a="Hello", b="List the files here")
    async with (
        MixServer(api, pace=0) as server,
        folder.daemon(server) as daemon,
    ):
        await daemon.program.says("job a: done")
        await daemon.program.says("job b: done")
        folder.put(c="Hello again")
        await daemon.program.says("job c: done")
        daemon.program.signal(signal.SIGTERM)
        assert await daemon.program.ended() == 0
        assert "Glob" in str(folder.result("done", "b")["tools"]).title()
        assert set(folder.result("done", "a")) == {
            *("name", "prompt", "session", "tries", "text", "tools", "recovered")
        }
        assert (folder.path / "done" / "a.json").read_text().endswith("}\n")
        sessions = {folder.result("done", name)["session"] for name in "abc"}
        assert len(sessions) == 3
        async with Mix(server.url) as mix:
            assert await mix.sessions.list() == []
    assert folder.names() == {"done": ["a", "b", "c"]}


async def test_a_job_that_the_agent_gives_up_is_recorded_and_not_sent_again(folder: Folder) -> None:
    folder.put(a="A", b="!rm -rf /")
    async with MixServer(pace=0) as server, folder.daemon(server) as daemon:
        server.script("A", Turn(Fail("no luck")))
        await daemon.program.says("job a: failed: ")
        await daemon.program.says("job b: failed: ")
        assert server.runs() == 1
    assert "no luck" in folder.result("failed", "a")["error"]
    assert folder.result("failed", "a")["prompt"] == "A"


async def test_it_is_ready_while_a_stream_is_connected(folder: Folder) -> None:
    async with MixServer(pace=0) as server, folder.daemon(server, "--workers=1") as daemon:
        await daemon.ready_until(lambda status, state: status == 200 and state["ready"])
        await server.stop()
        await daemon.ready_until(
            lambda status, state: (
                status == 503
                and state["streams"][0]["state"] == "reconnecting"
                and state["streams"][0]["last_loss"] is not None
            )
        )
        assert await daemon.get("/livez") == (200, "alive\n")
        folder.put(a="Hello")
        await server.start()
        await daemon.program.says("job a: done")
        await daemon.ready_until(lambda status, _: status == 200)
        status, text = await daemon.get("/metrics")
        assert status == 200
        assert 'daemon_jobs_total{result="done"} 1\n' in text
        assert 'mix_messages_total{outcome="complete"} 1\n' in text
        assert 'mix_stream_losses_total{planned="false"} 1\n' in text
        assert 'daemon_spool_jobs{folder="done"} 1\n' in text
        assert "\nmix_message_duration_seconds_count 1\n" in text
        assert re.search(r"^mix_message_duration_seconds_sum [0-9.]+$", text, re.MULTILINE)
        described = set(re.findall(r"^# HELP (\S+) .+\n# TYPE \1 \w+$", text, re.MULTILINE))
        samples = [line for line in text.splitlines() if not line.startswith("#")]
        families = {re.sub(r"(_sum|_count)?(\{.*)? .*", "", line) for line in samples}
        assert families <= described
        assert text.count("# TYPE ") == len(described)
        assert 'mix_streams{state="connected"}' in text
        assert (await daemon.get("/else"))[0] == 404


async def test_it_waits_for_a_server_that_starts_later(folder: Folder) -> None:
    folder.put(a="Hello")
    async with MixServer(pace=0) as server:
        await server.stop()
        async with folder.daemon(server) as daemon:
            await daemon.ready_until(lambda status, state: status == 503 and not state["streams"])
            await daemon.program.says("Check that a Mix server is running")
            await server.start()
            await daemon.program.says("job a: done")


async def test_sigterm_finishes_the_running_job_and_takes_no_more(folder: Folder) -> None:
    folder.put(a="A")
    go_on = trio.Event()
    async with MixServer(pace=0) as server, folder.daemon(server, "--workers=1") as daemon:
        server.script("A", Turn(Say("one "), WaitFor(go_on), Say("two")))
        with trio.fail_after(30):
            await server.wait_for(MessageRun, text="A")
        folder.put(b="Hello")
        daemon.program.signal(signal.SIGTERM)
        await daemon.program.says("SIGTERM: stopping; 1 jobs have 20 s")
        await daemon.ready_until(
            lambda status, state: (
                (status, state["draining"], state["streams"][0]["job"]) == (503, True, "a")
            )
        )
        go_on.set()
        assert await daemon.program.ended() == 0
        assert folder.result("done", "a")["text"] == "one two"
        assert server.runs() == 1
    assert folder.names() == {"done": ["a"], "inbox": ["b"]}


@pytest.mark.parametrize(("grace", "signals"), [("0.2", 1), ("1000", 2)])
async def test_sigterm_parks_an_unfinished_job_and_the_next_start_sends_it_again(
    folder: Folder, grace: str, signals: int
) -> None:
    folder.put(a="A")
    async with MixServer(pace=0) as server:
        server.script("A", Turn(Say("so far"), Hang()), Turn(Say("all")))
        async with folder.daemon(server, f"--grace={grace}") as daemon:
            with trio.fail_after(30):
                await server.wait_for(MessageRun, text="A")
            for number in range(signals):
                daemon.program.signal(signal.SIGTERM)
                await daemon.program.says("stopping", times=number + 1)
            await daemon.program.says("job a: parked")
            assert await daemon.program.ended() == 0
        assert server.running_turns == 0
        assert folder.names() == {"running": ["a"]}
        async with folder.daemon(server) as daemon:
            await daemon.program.says("job a: done")
        assert folder.result("done", "a")["text"] == "all"
        assert folder.result("done", "a")["tries"] == 2


async def test_systemd_receives_ready_watchdog_and_stopping(
    folder: Folder, tmp_path_factory: pytest.TempPathFactory
) -> None:
    address = str(tmp_path_factory.mktemp("s") / "n")
    heard: list[bytes] = []
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        await systemd.bind(address)
        async with (
            MixServer(pace=0) as server,
            folder.daemon(server, NOTIFY_SOCKET=address, WATCHDOG_USEC="100000") as daemon,
        ):
            with trio.fail_after(30):
                while heard.count(b"WATCHDOG=1") < 3:
                    heard.append(await systemd.recv(100))
                await server.wait_for(StreamOpened, count=2)
                daemon.program.signal(signal.SIGTERM)
                while heard[-1] != b"STOPPING=1":
                    heard.append(await systemd.recv(100))
            assert await daemon.program.ended() == 0
    assert set(heard) == {b"READY=1", b"WATCHDOG=1", b"STOPPING=1"}


async def test_a_second_daemon_on_the_folder_is_refused(folder: Folder) -> None:
    async with MixServer(pace=0) as server, folder.daemon(server) as first:
        await first.program.says("health at")
        async with folder.daemon(server) as second:
            assert await second.program.ended() == 2
            assert "another daemon uses it" in second.program.output


@pytest.mark.parametrize(
    "option", ["--health=8099", "--health=here:http", "--workers=0", "--tries=0", "--settle=-1"]
)
async def test_an_invalid_option_is_refused(folder: Folder, option: str) -> None:
    command = ("-m", "examples.daemon", str(folder.path), option)
    async with run_program(*command) as program:
        assert await program.ended() == 2
        assert f"argument {option.partition('=')[0]}: " in program.output


async def test_a_health_port_that_is_in_use_is_reported_in_one_line(folder: Folder) -> None:
    async with MixServer(pace=0) as server:
        port = server.url.rpartition(":")[2]
        async with folder.daemon(server, f"--health=127.0.0.1:{port}") as daemon:
            assert await daemon.program.ended() == 2
            assert f"cannot serve health checks at 127.0.0.1:{port}: " in daemon.program.output
            assert "Traceback" not in daemon.program.output


async def test_the_log_reports_a_lost_server_once_for_all_workers(folder: Folder) -> None:
    async with MixServer(pace=0) as server, folder.daemon(server, "--workers=3") as daemon:
        await daemon.ready_until(
            lambda _, state: [each["state"] for each in state["streams"]] == ["connected"] * 3
        )
        await server.restart()
        await daemon.program.says("a stream was lost: ")
        await daemon.program.says("no stream is lost any more")
        lost = [line for line in daemon.program.output.splitlines() if "a stream was lost" in line]
        assert len(lost) == len({line.partition("lost: ")[2] for line in lost})


def test_trouble_is_logged_once_per_reason_and_its_end_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trouble = Trouble("it fails", "it works again")
    with caplog.at_level("INFO", "daemon"):
        trouble.end("a")
        for name in "abc":
            trouble.begin(name, "refused")
            trouble.begin(name, "timed\nout")
        for name in "abc":
            trouble.end(name)
        trouble.begin("a", "refused")
    assert caplog.messages == [
        "it fails: refused",
        "it fails: timed out",
        "it works again",
        "it fails: refused",
    ]


async def test_demo_starts_a_server_and_has_jobs() -> None:
    command = ("-m", "examples.daemon", "--demo", "--health=127.0.0.1:0")
    async with run_program(*command, new_interpreter=True) as program:
        await program.says("job hello: done")
        await program.says("job files: done")
        program.signal(signal.SIGINT)
        assert await program.ended() == 0
