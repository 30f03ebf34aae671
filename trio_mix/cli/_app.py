"""The commands and their options.

What it knows: names, options, help texts.
What it must never know: how a command does its work; each lives in a module of its own.

Rule 1: a mistake in the arguments is one line on stderr and exit code 2, like every other error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number
from rich.console import Console

from trio_mix import __version__
from trio_mix.cli import _ask, _chat, _sessions
from trio_mix.cli._errors import ERROR, OK, complain
from trio_mix.cli._run import run_async
from trio_mix.models import ThinkingLevel  # noqa: TC001  # cyclopts reads the annotations

if TYPE_CHECKING:
    from collections.abc import Sequence

Server: TypeAlias = Annotated[
    str | None,
    Parameter(
        name="--server",
        env_var="MIX_SERVER_URL",
        help="The Mix server's address (default: http://localhost:8088).",
    ),
]
Yes: TypeAlias = Annotated[
    bool,
    Parameter(
        name=["--yes", "-y"],
        negative="",
        show_default=False,
        help="Grant every permission asked for.",
    ),
]
Jsonl: TypeAlias = Annotated[
    bool, Parameter(name="--jsonl", negative="", show_default=False, help="One JSON object a line.")
]
Api: TypeAlias = Annotated[
    Literal["async", "blocking", "pipeline", "pipeline-oldest"],
    Parameter(name="--api", help="The API generation that the bundled server speaks."),
]

DemoApi: TypeAlias = Annotated[
    Literal["async", "blocking", "pipeline"],
    Parameter(name="--api", help="The API generation that the bundled server speaks."),
]

app = App(
    name="trio-mix",
    help="Talk to a Mix agent server, or watch it work.",
    version=__version__,
)
sessions = App(name="sessions", help="List, create, show and delete sessions.")
app.command(sessions)


@app.command
def demo(*, api: DemoApi = "async") -> int:
    """Start the bundled server and show what trio_mix does with it; needs nothing else."""
    from trio_mix.cli import _demo  # the server is loaded only where it runs

    return run_async(_demo.demo, api)


@app.command
def ask(
    text: str,
    /,
    *,
    session: str | None = None,
    keep: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    yes: Yes = False,
    plan: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    thinking: ThinkingLevel | None = None,
    max_steps: int | None = None,
    allow_shell: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    server: Server = None,
) -> int:
    """Send one message and print the reply.

    Text goes to stdout; when that is no terminal, all else (thinking, tools, permissions) goes to
    stderr.

    Args:
      text: What to send.
      session: Ask in this session; without it, in a new one that is deleted afterwards.
      keep: Keep the new session, and print its id on stderr.
      plan: Let the agent only plan.
      thinking: How hard to think, as the server names it.
      max_steps: How many steps the agent may take.
      allow_shell: Send a text that starts with "!", which pipeline servers run as a shell command.
    """
    what = _ask.Ask(
        text=text,
        session=session,
        keep=keep,
        yes=yes,
        plan=plan,
        thinking=thinking,
        max_steps=max_steps,
        allow_shell=allow_shell,
    )
    return run_async(_ask.ask, server, what)


@app.command
def chat(*, session: str | None = None, yes: Yes = False, server: Server = None) -> int:
    """Talk in a session: a line is a message. Ctrl-C cancels a message, Ctrl-D leaves.

    Args:
      session: Go on in this session; without it, in a new one, which is kept.
    """
    return run_async(_chat.chat, server, session, yes=yes)


@app.command
def watch(session: str, /, *, jsonl: Jsonl = False, server: Server = None) -> int:
    """Print every event of a session as it happens, until Ctrl-C.

    Pipeline servers (API up to 0.6.9) run a message once for each open stream: do not watch there
    while another client works.

    Args:
      session: The session's id.
    """
    return run_async(_ask.watch, server, session, jsonl=jsonl)


@app.command
def serve(
    *,
    host: str = "127.0.0.1",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 8088,
    api: Api = "async",
) -> int:
    """Run the bundled server until Ctrl-C. It keeps everything in memory.

    Args:
      host: The address to bind; anything but loopback lets the network in, without a password.
      port: The port; 0 takes a free one.
    """
    from trio_mix.cli import _serve  # as in demo

    return run_async(_serve.serve, host, port, api)


@sessions.command(name="list")
def list_(*, jsonl: Jsonl = False, server: Server = None) -> int:
    """List the sessions: id, when created, how many messages, title."""
    return run_async(_sessions.list_sessions, server, jsonl=jsonl)


@sessions.command
def create(title: str = "trio-mix", /, *, server: Server = None) -> int:
    """Create a session and print its id.

    Args:
      title: What to call it.
    """
    return run_async(_sessions.create, server, title)


@sessions.command
def show(session: str, /, *, jsonl: Jsonl = False, server: Server = None) -> int:
    """Print a session and its stored messages.

    Args:
      session: The session's id.
    """
    return run_async(_sessions.show, server, session, jsonl=jsonl)


@sessions.command
def delete(session: str, /, *more: str, server: Server = None) -> int:
    """Delete sessions.

    Args:
      session: The session's id.
      more: More sessions' ids.
    """
    return run_async(_sessions.delete, server, (session, *more))


def run(argv: Sequence[str]) -> int:
    """Run the command that the arguments name, and return its exit code."""
    try:
        result = app(
            list(argv),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
            console=Console(highlight=False),
        )
    except CycloptsError as error:
        complain(str(error))
        return ERROR
    return result if isinstance(result, int) else OK
