"""Defines the commands for servers: demo, doctor, serve, record, replay; and completion."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # cyclopts reads the annotations
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from trio_mix.cli._errors import OK
from trio_mix.cli._options import (
    NO_COMMON,
    NO_DEBUG,
    NONE_ALLOWED,
    SERVERS,
    SHELL,
    Allowed,
    ApiOption,
    Common,
    Debug,
    DemoApiOption,
    HostOption,
    JsonlOption,
    PortOption,
    add,
    examples,
    flag,
)
from trio_mix.cli._run import run_async

if TYPE_CHECKING:
    from cyclopts import App


def add_server_commands(app: App) -> None:
    """Add the commands to the program."""
    for command, lines in _COMMANDS:
        add(app, command, group=SERVERS, epilogue=lines)

    def completion(shell: Literal["bash", "zsh", "fish"], /, *, debug: Debug = NO_DEBUG) -> int:
        """Print a script that completes commands and options in a shell.

        Args:
          shell: The shell.
        """
        del debug
        print(app.generate_completion(prog_name="trio-mix", shell=shell))
        return OK

    add(app, config, group=SHELL, epilogue=_CONFIG_EXAMPLES)
    add(app, completion, group=SHELL, epilogue=_COMPLETION_EXAMPLES)


def config(*, jsonl: JsonlOption = False, common: Common = NO_COMMON) -> int:
    """Show the settings: which file and profile are used, each value, and where it comes from.

    No server is asked, no secret is read, and none is shown.
    """
    from trio_mix.cli.commands import _config

    return _config.show_config(common, jsonl=jsonl)


def demo(
    *,
    api: DemoApiOption = "async",
    relay: Annotated[bool, flag("Show a relay that is killed in mid-answer.")] = False,
    debug: Debug = NO_DEBUG,
) -> int:
    """Run a demonstration of trio_mix against the bundled server; needs nothing else."""
    from trio_mix.cli.commands import _demo, _demo_relay

    if relay:
        return run_async(debug, _demo_relay.demo_relay, api)
    return run_async(debug, _demo.demo, api)


def doctor(
    *,
    json: Annotated[bool, flag("Print one JSON object with all findings.")] = False,
    wait: Annotated[float, Parameter(validator=Number(gt=0))] = 5.0,
    heartbeat: Annotated[float, Parameter(validator=Number(gte=0))] = 0.0,
    session: str | None = None,
    relay: Annotated[bool, flag("Examine a relay.")] = False,
    common: Common = NO_COMMON,
) -> int:
    """Examine a server: its kind, its generation, and how it deviates from the specification.

    The doctor measures in a session that it creates and deletes, without running the agent. For
    each finding it shows how trio_mix handles it. Exit code 0: no problem, or only deviations that
    trio_mix compensates for; 1: a problem; 3: no Mix server; 4: not authorised, or no key.

    Args:
      wait: The time to wait for each response, in seconds.
      heartbeat: The time to listen for heartbeats, in seconds; real servers send one every 45.
      session: The session to measure in, which is kept; do not use one that is in use.
    """
    from trio_mix.cli.doctor import _examination

    if relay:
        from trio_mix.cli.doctor import _relay

        return run_async(
            common, _relay.doctor_relay, common.connection(), session, as_json=json, wait=wait
        )
    return run_async(
        common,
        _examination.doctor,
        common.connection(),
        session,
        json=json,
        wait=wait,
        listen=heartbeat,
    )


def serve(
    *,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8088,
    api: ApiOption = "async",
    pace: Annotated[float, Parameter(validator=Number(gte=0))] = 1.0,
    state: Path | None = None,
    allowed: Allowed = NONE_ALLOWED,
    debug: Debug = NO_DEBUG,
) -> int:
    """Run the bundled server until Ctrl-C. It keeps everything in memory, unless there is a file.

    Args:
      pace: The factor for the pauses of its agent; 0: no pauses.
      state: A file that keeps the sessions over a restart, up to 64 MiB; it is created if needed.
    """
    from trio_mix.cli.commands import _serve

    return run_async(debug, _serve.serve, host, port, api, pace=pace, state=state, allowed=allowed)


def record(
    file: Path,
    /,
    *,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8089,
    force: Annotated[bool, flag("Replace an existing file.")] = False,
    allowed: Allowed = NONE_ALLOWED,
    common: Common = NO_COMMON,
) -> int:
    """Run a proxy that records requests and responses of a server, with secrets masked.

    Connect a client to the address that is printed; Ctrl-C ends the recording. A secret that the
    agent sends in several pieces is not recognised: read a recording before you share it.

    Args:
      file: The file to write.
    """
    from trio_mix.cli.commands import _record

    return run_async(
        common,
        _record.record_to,
        common.connection(),
        file,
        host,
        port,
        force=force,
        allowed=allowed,
    )


def replay(
    file: Path,
    /,
    *,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8088,
    speed: Annotated[float, Parameter(validator=Number(gt=0))] = 1.0,
    ignore_bodies: Annotated[bool, flag("Match requests without comparing bodies.")] = False,
    allowed: Allowed = NONE_ALLOWED,
    debug: Debug = NO_DEBUG,
) -> int:
    """Serve a recording: send the recorded responses, at their pace, until Ctrl-C.

    A request that was not recorded gets HTTP 410.

    Args:
      file: The file that `trio-mix record` wrote.
      speed: The speed relative to the recording; inf: no pauses.
    """
    from trio_mix.cli.commands import _record

    return run_async(
        debug,
        _record.replay_from,
        file,
        host,
        port,
        speed=speed,
        ignore_bodies=ignore_bodies,
        allowed=allowed,
    )


_COMMANDS = (
    (demo, examples("trio-mix demo", "trio-mix demo --api pipeline", "trio-mix demo --relay")),
    (
        doctor,
        examples(
            "trio-mix doctor",
            "trio-mix doctor --server https://mix.example --heartbeat 50",
            "trio-mix doctor --json | jq .generation",
            "trio-mix doctor --relay --server http://localhost:8090",
        ),
    ),
    (serve, examples("trio-mix serve", "trio-mix serve --port 0 --api blocking --pace 3")),
    (
        record,
        examples(
            "trio-mix record talk.jsonl",
            'trio-mix ask "Hi" --server http://127.0.0.1:8089',
        ),
    ),
    (
        replay,
        examples(
            "trio-mix replay talk.jsonl --port 8089",
            "trio-mix replay talk.jsonl --speed inf",
        ),
    ),
)
_CONFIG_EXAMPLES = examples(
    "trio-mix config",
    "trio-mix config --profile work",
)
_COMPLETION_EXAMPLES = examples(
    'bash: eval "$(trio-mix completion bash)"            in ~/.bashrc',
    'zsh:  trio-mix completion zsh > "${fpath[1]}/_trio-mix"',
    "fish: trio-mix completion fish > ~/.config/fish/completions/trio-mix.fish",
)
