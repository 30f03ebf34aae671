"""Options that several commands share, and the groups of the help page."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

import attrs
from cyclopts import Group, Parameter

if TYPE_CHECKING:
    from collections.abc import Callable

    from cyclopts import App

MESSAGES: Final = Group("Messages", sort_key=1)
RESOURCES: Final = Group("Resources of the server", sort_key=2)
SERVERS: Final = Group("Servers: diagnose, run, record and replay", sort_key=3)
SHELL: Final = Group("This program", sort_key=4)
COMMON: Final = Group("Common options", sort_key=90)


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Debug:
    """The options of every command."""

    debug: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            group=COMMON,
            env_var="TRIO_MIX_DEBUG",
            help="Show the traceback of an error.",
        ),
    ] = False


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Common(Debug):
    """The options of every command that connects to a server."""

    server: Annotated[
        str | None,
        Parameter(
            name=["--server", "--server-url"],
            env_var="MIX_SERVER_URL",
            group=COMMON,
            help="The Mix server's address (default: http://localhost:8088).",
        ),
    ] = None


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Allowed:
    """The options of every command that serves HTTP: which clients and pages may use it."""

    hosts: Annotated[
        tuple[str, ...],
        Parameter(
            name="--allow-host",
            negative="",
            help="A name of this machine, as well as localhost; can be repeated.",
        ),
    ] = ()
    origins: Annotated[
        tuple[str, ...],
        Parameter(
            name="--allow-origin",
            negative="",
            help="The origin of web pages that may connect, for example http://localhost:5173; "
            "can be repeated.",
        ),
    ] = ()


NO_DEBUG: Final = Debug()
NO_COMMON: Final = Common()
NONE_ALLOWED: Final = Allowed()


def flag(text: str, *names: str) -> Parameter:
    """Describe an option without a value."""
    return Parameter(name=list(names) or None, negative="", show_default=False, help=text)


YesOption: TypeAlias = Annotated[
    bool,
    flag("Grant every permission request, and acknowledge every notification.", "--yes", "-y"),
]
GrantOption: TypeAlias = Annotated[
    tuple[str, ...],
    Parameter(
        name="--grant",
        negative="",
        show_default=False,
        help="Grant the permission requests of this tool; may be repeated.",
    ),
]
JsonlOption: TypeAlias = Annotated[bool, flag("Print one JSON object per line.", "--jsonl")]
ApiOption: TypeAlias = Annotated[
    Literal["async", "blocking", "pipeline", "pipeline-oldest"],
    Parameter(name="--api", help="The API generation of the bundled server."),
]
HostOption: TypeAlias = Annotated[
    str,
    Parameter(
        name="--host",
        help="The address to bind; any address except loopback admits the network, "
        "without a password.",
    ),
]
DemoApiOption: TypeAlias = Annotated[
    Literal["async", "blocking", "pipeline"],
    Parameter(name="--api", help="The API generation of the bundled server."),
]
SessionId: TypeAlias = Annotated[str, Parameter(help="The session's id.")]


def examples(*lines: str) -> str:
    """Return the end of a help page: examples, one per line."""
    return "Examples:\n\n" + "\n".join(f"  {line}" for line in lines)


def add(
    app: App,
    function: Callable[..., int],
    *,
    name: str | None = None,
    group: Group | None = None,
    epilogue: str | None = None,
) -> None:
    """Add a command. Its help is the docstring, with each paragraph on one line for any width.

    Args:
      app: the program or group that gets the command.
      function: the command.
      name: the command's name; the function's name by default.
      group: the command's group on the help page.
      epilogue: the end of the command's help page; that of the app by default.
    """
    text = inspect.getdoc(function) or ""
    prose = text.partition("\nArgs:")[0].strip()
    paragraphs = [" ".join(each.split()) for each in prose.split("\n\n")]
    app.command(
        function,
        name=name or function.__name__,
        group=group,
        help="\n\n".join(paragraphs),
        help_epilogue=epilogue,
    )
